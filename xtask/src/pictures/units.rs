//! Numbers as Grafana writes them.

/// A value in the unit that a panel names; `now` is for points in time.
pub(super) fn text(value: f64, unit: &str, decimals: Option<u64>, now: u64) -> String {
    match unit {
        "percentunit" => format!("{}%", trimmed(value * 100.0, decimals.unwrap_or(1))),
        "s" => duration(value),
        "bytes" => scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB"], None),
        "cps" => format!("{} c/s", scaled(value, 1000.0, &["", " K", " Mil"], None)),
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        "dateTimeFromNow" => format!("{} ago", duration((now as f64 - value / 1000.0).max(0.0))),
        _ => scaled(value, 1000.0, &["", " K", " Mil"], decimals),
    }
}

/// With the largest unit of which there is one.
fn duration(seconds: f64) -> String {
    let units =
        [("days", 86_400.0), ("hours", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)];
    match units.into_iter().find(|(_, size)| seconds.abs() >= *size) {
        Some((name, size)) => format!("{} {name}", trimmed(seconds / size, 1)),
        None => "0 s".to_owned(),
    }
}

fn scaled(value: f64, base: f64, units: &[&str], decimals: Option<u64>) -> String {
    let (mut value, mut at) = (value, 0);
    while value.abs() >= base && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    // Enough digits to tell small numbers apart.
    let usual = if value.abs() < 1.0 { 3 } else { 1 };
    let decimals = if at == 0 { decimals.unwrap_or(usual) } else { 1 };
    format!("{}{}", trimmed(value, decimals), units.get(at).copied().unwrap_or_default())
}

/// Without zeros at the end.
fn trimmed(value: f64, decimals: u64) -> String {
    let text = format!("{value:.*}", usize::try_from(decimals).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn numbers_are_short() {
        let rows = [
            (0.0, "short", None, "0"),
            (12.0, "short", Some(0), "12"),
            (11.6, "short", Some(0), "12"),
            (4000.0, "short", Some(0), "4 K"),
            (0.125, "cps", None, "0.125 c/s"),
            (0.853, "percentunit", None, "85.3%"),
            (0.0042, "s", None, "4.2 ms"),
            (5400.0, "s", None, "1.5 hours"),
            (10_485_760.0, "bytes", None, "10 MiB"),
            (940_000.0, "dateTimeFromNow", None, "1 min ago"),
        ];
        for (value, unit, decimals, want) in rows {
            assert_eq!(text(value, unit, decimals, 1000), want, "{value} {unit}");
        }
    }
}
