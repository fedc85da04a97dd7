//! Steps that several functions share.

/// `x` within `lo..=hi`; NaN stays NaN. Written so that it becomes one packed max and one packed min.
#[inline(always)]
pub(super) fn clamp_f32(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// `magnitude` with the sign bit of `sign` added: restores the -0 that an addition loses.
#[inline(always)]
pub(super) fn or_sign_f32(magnitude: f32, sign: f32) -> f32 {
    f32::from_bits(magnitude.to_bits() | (sign.to_bits() & (1 << 31)))
}

/// As [`clamp_f32`].
#[inline(always)]
pub(super) fn clamp_f64(x: f64, lo: f64, hi: f64) -> f64 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// As [`or_sign_f32`].
#[inline(always)]
pub(super) fn or_sign_f64(magnitude: f64, sign: f64) -> f64 {
    f64::from_bits(magnitude.to_bits() | (sign.to_bits() & (1 << 63)))
}
