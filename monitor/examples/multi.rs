use aa_monitor::record::*;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "in"))
        .collect();
    names.sort();
    for p in names {
        let arena = bumpalo::Bump::new();
        let text = std::fs::read(&p).unwrap();
        let line = text.split(|b| *b == b'\n').next().unwrap();
        let r = parse_line(line, Origin::File, &Senders::by_program(), &arena);
        let n = p.file_name().unwrap().to_string_lossy().into_owned();
        match r {
            Ok(v) => println!(
                "{n}: {} {} {} others={:?} prof={:?} name={:?} tr={} node={:?} sender={:?}",
                v.verdict,
                v.class,
                operation_label(v.operation),
                v.others
                    .iter()
                    .map(|(k, val)| format!("{}={}", k.escape_ascii(), val.escape_ascii()))
                    .collect::<Vec<_>>(),
                v.profile.map(|p| p.escape_ascii().to_string()),
                v.name.map(|p| p.escape_ascii().to_string()),
                v.truncated,
                v.node.map(|p| p.escape_ascii().to_string()),
                v.sender
            ),
            Err(e) => println!("{n}: ERR {e}"),
        }
    }
}
