//! Capabilities, limits, io_uring and message queues.
//!
//! AppArmor reports a repeated capability of one profile only once for a while: provoke each once.

use std::ffi::CString;

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{chroot, sethostname};

use crate::Operation;
use crate::Perform::{Nothing, One};

pub(crate) const OPERATIONS: &[Operation] = &[
    ("hostname", "", Nothing(|| sethostname("lab"))),
    ("chroot", "", Nothing(|| chroot("/"))),
    ("module", "", Nothing(|| delete_module(c"no_such_module", DeleteModuleFlags::O_NONBLOCK))),
    ("nice", "", Nothing(nice)),
    (
        "rlimit",
        "FILES",
        One(|files| {
            let limit = files.parse().map_err(|_| Errno::EINVAL)?;
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)
        }),
    ),
    ("io_uring", "", Nothing(io_uring)),
    ("mqueue", "NAME", One(mqueue)),
];

fn nice() -> nix::Result<()> {
    #[expect(unsafe_code, reason = "no library call of ours wraps setpriority(2)")]
    // SAFETY: numbers in, a number out.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -5) }).map(drop)
}

/// Creates a message queue; to the kernel its name has no slash in front.
fn mqueue(name: &str) -> nix::Result<()> {
    const DEFAULTS: *const libc::mq_attr = std::ptr::null();
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    #[expect(unsafe_code, reason = "the C library's mq_open, given no attributes, hands something else over")]
    // SAFETY: the kernel reads the name, which ends in NUL and outlives the call; null asks for the defaults.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_mq_open, name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o400, DEFAULTS)
    })
    .map(drop)
}

/// Asks for a ring whose submissions a kernel thread polls (`IORING_SETUP_SQPOLL`).
fn io_uring() -> nix::Result<()> {
    const SQPOLL: u32 = 1 << 1;
    // struct io_uring_params: 120 bytes, of which the third word holds the flags.
    let mut params = [0_u32; 30];
    let [_, _, flags, ..] = &mut params;
    *flags = SQPOLL;
    #[expect(unsafe_code, reason = "the C library has no io_uring_setup")]
    // SAFETY: the kernel reads and writes the 120 bytes of `params`, which outlives the call. The ring's
    // descriptor is closed when this process ends.
    Errno::result(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) }).map(drop)
}
