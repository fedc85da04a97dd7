//! Why a call goes to stock torch.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a call goes to stock torch. Declining is no error: the user's errors are stock torch's to raise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Decline { $($(#[$doc])* $name),* }

        impl Decline {
            /// Every reason, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The reason in words.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

reasons! {
    /// Arguments that do not fit the signature, or are not of the expected types.
    Arguments = "arguments not supported",
    /// `out=`, `dtype=` and the like.
    Keyword = "keyword not supported",
    /// `training=False` and the like: there is nothing for a kernel to do.
    Off = "off by an argument, as in evaluation",
    /// torch's settings choose another way of its own than the one that a kernel stands for.
    Setting = "off by torch's settings",
    /// An optimizer keeps nothing of a parameter yet.
    First = "first step, which makes the optimizer's state",
    /// Not exactly `torch.Tensor` or `torch.nn.Parameter`.
    NotPlain = "not a plain tensor",
    /// The door could not read it: sparse, nested, meta, a functorch wrapper.
    Unreadable = "tensor without plain storage",
    /// On another device.
    Device = "device",
    /// Of another element type.
    Dtype = "dtype",
    /// Not dense, or in an order of dimensions that this operation does not take.
    Layout = "layout",
    /// No elements.
    Empty = "empty",
    /// A negative view.
    Negative = "negative view",
    /// Outside the sizes where the kernel wins.
    Threshold = "outside the size window",
    /// Requires a gradient, and outside the sizes where the kernel wins in training.
    Training = "requires grad: outside the size window",
    /// Requires a gradient, in place.
    TrainingInplace = "requires grad: in place",
    /// A dispatch mode, functorch, autocast or tracing is on.
    Mode = "dispatch mode, functorch, autocast or tracing",
    /// A torch-function mode is on.
    FunctionMode = "function mode",
    /// Forward-mode differentiation is on.
    ForwardAd = "forward-mode differentiation",
    /// An inference tensor changed outside inference mode.
    Inference = "inference tensor",
    /// The dimension is missing, out of range, or several.
    Dim = "dim",
    /// This kernel's own limits.
    Kernel = "shape or parameters outside the kernel's limits",
    /// Elements whose result follows from the order in which stock torch looks at them.
    Elements = "elements outside the kernel's limits",
    /// Memory could not be had, or another failure that stock torch will name.
    Failed = "could not run",
}
