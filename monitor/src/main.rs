//! The `aa-monitor` command.

use std::io::stdout;
use std::process::ExitCode;
use std::time::Duration;

use aa_monitor::cli::{self, Command, Failure, RunArgs};
use aa_monitor::output::history;
use aa_monitor::{logging, shutdown};
use anyhow::Context;

/// How long a thread waits for more work that may block. The first one loads the programs, which takes a megabyte of
/// stack that it keeps for as long as it lives.
const IDLE_THREAD: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let done = cli::parse(std::env::args_os()).and_then(|cli| {
        match cli.command {
            Command::Run(args) => run(*args),
            Command::Check(args) => match args.run(&mut stdout())? {
                true => Ok(()),
                false => return Ok(ExitCode::from(cli::EXIT_FAILED)),
            },
            Command::Replay(args) => args.run(),
            Command::Tail(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Suggest(args) => match args.run()? {
                true => return Ok(ExitCode::from(cli::EXIT_MISSING)),
                false => Ok(()),
            },
            #[cfg(feature = "ebpf")]
            Command::Detach(args) => args.run(&mut stdout()),
            Command::CheckHistory { folder } => history::check(&folder).map_err(Failure::from),
            Command::Completions { shell } => cli::print_completions(shell, &mut stdout()),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    match done {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(args: RunArgs) -> Result<(), Failure> {
    let Some(config) = args.config(&mut stdout())? else { return Ok(()) };
    logging::start(config.log_level);
    aa_monitor::tame_heap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(IDLE_THREAD)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::requested().context("cannot listen for signals")?;
        aa_monitor::run(config, shutdown).await
    });
    // What is still blocked (a reader that never reads) does not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(result?)
}
