use super::*;

fn odd() -> Config {
    Config {
        listen: "[::1]:1".parse().unwrap(),
        source: SourceChoice::Audit,
        output: OutputFormat::Json,
        output_file: Some("/var/log/a \"b\".json".into()),
        ring_size: Size::kibibytes(512),
        netlink_buffer: "65537".parse().unwrap(),
        queue_length: 64,
        series_limit: 100,
        silent_denials: SilentDenials::On,
        state_dir: "/tmp/state".into(),
        pin_dir: "/tmp/pins".into(),
        no_pin: true,
        socket: "/tmp/a.sock".into(),
        kube_events: KubeEventsChoice::All,
        allowed_profiles: Some("runtime/default, shop=localhost/web-*".parse().unwrap()),
        default_profiles: "site-*,other".parse().unwrap(),
        node_labels: Some("k8s-*".to_owned()),
        metric_labels: "pod,profile".parse().unwrap(),
        pod_source: PodSourceChoice::Kubelet,
        node_name: Some("node-1.example".into()),
        kubeconfig: Some("/etc/kube \"config\"".into()),
        kubelet_url: Some("https://127.0.0.1:10250".into()),
        kubelet_ca: Some("/etc/kubelet/ca.pem".into()),
        kubelet_insecure: false,
        keep_gone: Period::minutes(90),
        log_level: LogLevel::Trace,
    }
}

#[test]
fn what_is_printed_reads_back_the_same() {
    for config in [Config::default(), odd()] {
        let text = config.to_toml().unwrap();
        let settings = file::parse(&text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert_eq!(Config::resolve(settings).unwrap(), config, "{text}");
    }
}

#[test]
fn every_key_of_the_file_is_printed_and_every_printed_key_is_one_of_the_file() {
    let printed: toml::Table = odd().to_toml().unwrap().parse().unwrap();
    let mut printed: Vec<_> = printed.keys().map(String::as_str).collect();
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("file"));
    let mut keys: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    printed.sort_unstable();
    keys.sort_unstable();
    assert_eq!(printed, keys);
}

#[test]
fn the_documentation_has_a_row_for_every_setting_with_its_default() {
    let page = include_str!("../../../docs/configuration.md");
    let defaults: toml::Table = Config::default().to_toml().unwrap().parse().unwrap();
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("file"));
    for key in command.get_arguments().filter_map(clap::Arg::get_long) {
        let row = match defaults.get(key) {
            Some(toml::Value::String(default)) => format!("| `{key}` | `{default}` |"),
            Some(default) => format!("| `{key}` | `{default}` |"),
            None => format!("| `{key}` | "),
        };
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn help_tells_the_default_of_every_setting_that_has_one() {
    let defaults: toml::Table = Config::default().to_toml().unwrap().parse().unwrap();
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("file"));
    for arg in command.get_arguments() {
        let Some(default) = arg.get_long().and_then(|key| defaults.get(key)) else {
            continue;
        };
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.ends_with(&format!("[default: {default}]")), "{}: {help}", arg.get_id());
    }
}

#[test]
fn the_stronger_place_wins() {
    let flag = Settings { queue_length: Some(100), ..Settings::default() };
    let file = file::parse("queue-length = 200\nseries-limit = 300").unwrap();
    let config = Config::resolve(flag.over(file)).unwrap();
    assert_eq!((config.queue_length, config.series_limit), (100, 300));
    assert_eq!(config.netlink_buffer, Config::default().netlink_buffer);
}

#[test]
fn a_file_to_write_to_needs_something_to_write() {
    let settings = Settings { output_file: Some("/tmp/x".into()), ..Settings::default() };
    assert!(matches!(Config::resolve(settings), Err(ConfigError::OutputFileWithoutOutput)));
}

#[test]
fn a_named_file_must_exist() {
    let missing = Path::new("/nonexistent/aa-monitor.toml");
    let error = Config::load(Some(missing), Settings::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read the configuration file /nonexistent/aa-monitor.toml: ")
    );
}
