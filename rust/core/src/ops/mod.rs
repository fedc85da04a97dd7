//! The operations, a file each; [`KERNELS`], [`ALONG_KERNELS`], [`SELECT_KERNELS`], [`RANDOM_KERNELS`], [`NARY_KERNELS`],
//! [`STEP_KERNELS`] and [`CLIP_KERNELS`] list them. What stock torch does as fast is in no list: [`arithmetic`], [`cast`],
//! [`reduction::sum`] and [`matmul::matmul`] are functions by themselves.

pub mod activation;
pub mod arithmetic;
pub mod attention;
pub mod cast;
pub mod cumulative;
pub mod distance;
pub mod elementwise;
pub mod index;
mod kept;
pub mod loss;
pub mod matmul;
mod moments;
pub mod norm;
pub mod optim;
pub mod random;
pub mod reduction;
pub mod select;
pub mod sorting;
pub mod sparse;
pub mod unary;

use crate::{
    dtype::Typed,
    kernel::{
        AlongKernel, ClipKernel, IndexKernel, Kernel, NaryKernel, Operand, RandomKernel, SelectKernel, StepKernel,
    },
};
use cumulative::cummax::Cumulative;
use elementwise::Elementwise;
use index::{compare::Compare, gather::Gather, scatter::Scatter, searchsorted::Searchsorted};
use loss::pointwise::Pointwise;
use random::Random;
use reduction::{
    count_nonzero::{All, Any, Count, Number},
    extreme::{Aminmax, Arg, Extreme},
    lanes::{Largest, Smallest},
};
use sorting::{kthvalue::Kthvalue, median::Median, mode::Mode, quantile::Quantile, sort::Sort, topk::Topk};

/// Every kernel.
pub static KERNELS: &[&dyn Kernel] = &[
    &Elementwise::<activation::relu::Relu>::NEW,
    &Elementwise::<activation::hardtanh::Hardtanh>::NEW,
    &Elementwise::<activation::leaky_relu::LeakyRelu>::NEW,
    &Elementwise::<activation::hardswish::Hardswish>::NEW,
    &Elementwise::<activation::hardsigmoid::Hardsigmoid>::NEW,
    &Elementwise::<activation::elu::Elu>::NEW,
    &Elementwise::<activation::celu::Celu>::NEW,
    &activation::gelu::Gelu,
    &Elementwise::<activation::silu::Silu>::NEW,
    &Elementwise::<activation::mish::Mish>::NEW,
    &Elementwise::<activation::sigmoid::Sigmoid>::NEW,
    &Elementwise::<activation::tanh::Tanh>::NEW,
    &activation::softplus::Softplus,
    &Elementwise::<activation::softsign::Softsign>::NEW,
    &Elementwise::<activation::logsigmoid::Logsigmoid>::NEW,
    &activation::glu::Glu,
    &Elementwise::<unary::exp::Exp>::NEW,
    &Elementwise::<unary::log::Log>::NEW,
    &Elementwise::<unary::erf::Erf>::NEW,
    &unary::pow::Pow,
    &reduction::softmax::Softmax,
    &reduction::log_softmax::LogSoftmax,
    &reduction::logsumexp::Logsumexp,
    &reduction::var::Var::<false>,
    &reduction::var::Var::<true>,
];

/// Every kernel along a dimension whose results may be several, or indices.
pub static ALONG_KERNELS: &[&dyn AlongKernel] = &[
    &Arg::<Largest>::NEW,
    &Arg::<Smallest>::NEW,
    &Extreme::<Largest>::NEW,
    &Extreme::<Smallest>::NEW,
    &Aminmax,
    &Count::<Any>::NEW,
    &Count::<All>::NEW,
    &Count::<Number>::NEW,
    &Sort::SORT,
    &Sort::ARGSORT,
    &Sort::MSORT,
    &Topk,
    &cumulative::cumsum::Cumsum,
    &cumulative::cumprod::Cumprod,
    &cumulative::logcumsumexp::Logcumsumexp,
    &Cumulative::CUMMAX,
    &Cumulative::CUMMIN,
    &Kthvalue,
    &Median::<false>,
    &Median::<true>,
    &Mode,
    &Quantile::<false>,
    &Quantile::<true>,
];

/// Every kernel whose result is as long as what it counts.
pub static SELECT_KERNELS: &[&dyn SelectKernel] = &[&select::nonzero::Nonzero, &select::masked_select::MaskedSelect];

/// Every kernel that moves, chooses or finds elements.
pub static INDEX_KERNELS: &[&dyn IndexKernel] = &[
    &index::where_self::Where,
    &index::masked_fill::MaskedFill,
    &index::masked_scatter::MaskedScatter,
    &Gather::GATHER,
    &Gather::TAKE_ALONG_DIM,
    &index::take::Take,
    &index::index_select::IndexSelect,
    &index::index_select::Index,
    &index::index_put::IndexPut,
    &Scatter::SCATTER,
    &Scatter::SCATTER_ADD,
    &Scatter::SCATTER_REDUCE,
    &Scatter::INDEX_ADD,
    &Scatter::INDEX_COPY,
    &Scatter::INDEX_FILL,
    &Compare::EQ,
    &Compare::NE,
    &Compare::LT,
    &Compare::LE,
    &Compare::GT,
    &Compare::GE,
    &Compare::ISNAN,
    &distance::cdist::Cdist,
    &attention::scaled_dot_product_attention::ScaledDotProductAttention,
    &index::contiguous::Contiguous,
    &Searchsorted::SEARCHSORTED,
    &Searchsorted::BUCKETIZE,
    &index::isin::Isin,
    &index::histc::Histc,
    &matmul::matmul::MATMUL,
    &matmul::matmul::MM,
    &matmul::matmul::MV,
    &matmul::matmul::BMM,
    &matmul::matmul::ADDMM,
    &matmul::matmul::BADDBMM,
];

/// Every kernel with random numbers.
pub static RANDOM_KERNELS: &[&dyn RandomKernel] = &[
    &Random::<random::dropout::Dropout>::NEW,
    &Random::<random::alpha_dropout::AlphaDropout>::NEW,
    &Random::<random::bernoulli::Bernoulli>::NEW,
    &Random::<random::feature_dropout::FeatureDropout>::NEW,
    &Random::<random::feature_alpha_dropout::FeatureAlphaDropout>::NEW,
];

/// Every kernel of several tensors.
pub static NARY_KERNELS: &[&dyn NaryKernel] = &[
    &matmul::linear::Linear,
    &norm::batch_norm::BatchNorm,
    &norm::instance_norm::InstanceNorm,
    &norm::layer_norm::LayerNorm,
    &norm::rms_norm::RmsNorm,
    &sparse::embedding::Embedding,
    &loss::cross_entropy::CrossEntropy,
    &Pointwise::<loss::mse_loss::MseLoss>::NEW,
    &Pointwise::<loss::l1_loss::L1Loss>::NEW,
    &Pointwise::<loss::smooth_l1_loss::SmoothL1Loss>::NEW,
    &Pointwise::<loss::huber_loss::HuberLoss>::NEW,
    &Pointwise::<loss::binary_cross_entropy::BinaryCrossEntropy>::NEW,
    &Pointwise::<loss::binary_cross_entropy_with_logits::BinaryCrossEntropyWithLogits>::NEW,
    &Pointwise::<loss::kl_div::KlDiv>::NEW,
    &Pointwise::<loss::poisson_nll_loss::PoissonNllLoss>::NEW,
    &Pointwise::<loss::gaussian_nll_loss::GaussianNllLoss>::NEW,
];

/// Every optimizer's step.
pub static STEP_KERNELS: &[&dyn StepKernel] = &[
    &optim::adagrad::Adagrad,
    &optim::adam::Adam,
    &optim::rmsprop::Rmsprop,
    &optim::sgd::Sgd,
];

/// Every kernel on the gradients of many parameters.
pub static CLIP_KERNELS: &[&dyn ClipKernel] = &[
    &optim::clip_grad_norm::ClipGradNorm,
    &optim::clip_grad_norm::GetTotalNorm,
    &optim::clip_grad_norm::ClipGradsWithNorm,
    &optim::clip_grad_value::ClipGradValue,
];

/// The numbers of an operand, if it is there.
///
/// # Panics
/// Where they are of another type.
fn numbers_of<'a, T: Typed>(operands: &[Option<Operand<'a>>], index: usize) -> Option<&'a [T]> {
    let floats = operands.get(index)?.as_ref()?.floats()?;
    Some(T::slice(floats).expect("the operands have one element type"))
}

/// The kernel of that name.
pub fn find(name: &str) -> Option<&'static dyn Kernel> {
    KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel along a dimension, of several results or indices, of that name.
pub fn find_along(name: &str) -> Option<&'static dyn AlongKernel> {
    ALONG_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel whose result is as long as what it counts, of that name.
pub fn find_select(name: &str) -> Option<&'static dyn SelectKernel> {
    SELECT_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel that moves, chooses or finds elements, of that name.
pub fn find_index(name: &str) -> Option<&'static dyn IndexKernel> {
    INDEX_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel with random numbers of that name.
pub fn find_random(name: &str) -> Option<&'static dyn RandomKernel> {
    RANDOM_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel of several tensors of that name.
pub fn find_nary(name: &str) -> Option<&'static dyn NaryKernel> {
    NARY_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The optimizer's step of that name.
pub fn find_step(name: &str) -> Option<&'static dyn StepKernel> {
    STEP_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}

/// The kernel on gradients of that name.
pub fn find_clip(name: &str) -> Option<&'static dyn ClipKernel> {
    CLIP_KERNELS.iter().copied().find(|kernel| kernel.name() == name)
}
