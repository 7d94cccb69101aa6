//! How the oracle says which promise of `README.md` was broken.

/// Asserts what a promise says; the panic begins with the promise's name in brackets, which
/// is what the mutation test looks for.
macro_rules! promise {
    ($name:literal, $holds:expr, $($why:tt)+) => {
        assert!($holds, concat!("[", $name, "] {}"), format_args!($($why)+))
    };
}

pub(crate) use promise;
