//! Which labels an expression's result has; and that it names no metric and no label that does not exist.

use promql_parser::label::Matchers;
use promql_parser::parser::token::{T_BOTTOMK, T_LAND, T_LOR, T_LUNLESS, T_TOPK};
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};

use super::catalogue::{Catalogue, Labels};

/// The labels of the result of `text`, or what is wrong with it.
pub(crate) fn labels(text: &str, catalogue: &Catalogue) -> Result<Labels, String> {
    let expression = parser::parse(text).map_err(|why| format!("{why} in {text}"))?;
    of(&expression, catalogue).map_err(|why| format!("{why} in {text}"))
}

fn of(expression: &Expr, catalogue: &Catalogue) -> Result<Labels, String> {
    match expression {
        Expr::Paren(inner) => of(&inner.expr, catalogue),
        Expr::Unary(inner) => of(&inner.expr, catalogue),
        Expr::Subquery(inner) => of(&inner.expr, catalogue),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
        Expr::VectorSelector(selector) => of_selector(selector, catalogue),
        Expr::MatrixSelector(matrix) => of_selector(&matrix.vs, catalogue),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, catalogue),
        Expr::Binary(binary) => of_binary(binary, catalogue),
        Expr::Call(call) => of_call(call, catalogue),
        Expr::Extension(_) => Err("an extension".into()),
    }
}

fn of_selector(selector: &VectorSelector, catalogue: &Catalogue) -> Result<Labels, String> {
    let name = selector.name.as_deref().ok_or("a selector without a metric")?;
    let labels = catalogue.labels(name).ok_or_else(|| format!("no metric is called {name}"))?;
    let Matchers { matchers, or_matchers } = &selector.matchers;
    for matcher in matchers.iter().chain(or_matchers.iter().flatten()) {
        known(&matcher.name, labels).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(labels.clone())
}

fn of_aggregate(aggregate: &AggregateExpr, catalogue: &Catalogue) -> Result<Labels, String> {
    let inner = of(&aggregate.expr, catalogue)?;
    if let Some(parameter) = &aggregate.param {
        of(parameter, catalogue)?;
    }
    for label in aggregate.modifier.iter().flat_map(|modifier| &modifier.labels().labels) {
        known(label, &inner)?;
    }
    // These choose among the series that they are given; the others make new ones.
    if [T_TOPK, T_BOTTOMK].contains(&aggregate.op.id()) {
        return Ok(inner);
    }
    Ok(match &aggregate.modifier {
        None => Labels::new(),
        Some(LabelModifier::Include(labels)) => labels.labels.iter().cloned().collect(),
        Some(LabelModifier::Exclude(labels)) => {
            inner.into_iter().filter(|label| !labels.labels.contains(label)).collect()
        }
    })
}

fn of_binary(binary: &BinaryExpr, catalogue: &Catalogue) -> Result<Labels, String> {
    let (left, right) = (of(&binary.lhs, catalogue)?, of(&binary.rhs, catalogue)?);
    let modifier = binary.modifier.as_ref();
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    for label in matching.iter().flat_map(|matching| &matching.labels().labels) {
        known(label, &left)?;
        known(label, &right)?;
    }
    let op = binary.op.id();
    if op == T_LOR {
        return Ok(&left | &right);
    }
    if op == T_LAND || op == T_LUNLESS {
        return Ok(left);
    }
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(taken)) => {
            taken.labels.iter().try_for_each(|label| known(label, &right))?;
            Ok(left.into_iter().chain(taken.labels.iter().cloned()).collect())
        }
        Some(VectorMatchCardinality::OneToMany(taken)) => {
            taken.labels.iter().try_for_each(|label| known(label, &left))?;
            Ok(right.into_iter().chain(taken.labels.iter().cloned()).collect())
        }
        _ => Ok(match matching {
            Some(LabelModifier::Include(on)) => on.labels.iter().cloned().collect(),
            // A comparison with a scalar keeps the other side's labels.
            _ if right.is_empty() => left,
            _ if left.is_empty() => right,
            _ => &left & &right,
        }),
    }
}

fn of_call(call: &Call, catalogue: &Catalogue) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for argument in &call.args.args {
        labels.extend(of(argument, catalogue)?);
    }
    match call.func.name {
        "label_replace" | "label_join" => {
            let Some(Expr::StringLiteral(new)) = call.args.args.get(1).map(AsRef::as_ref) else {
                return Err(format!("{} without the name of a label", call.func.name));
            };
            labels.insert(new.val.clone());
        }
        "histogram_quantile" => {
            labels.remove("le");
        }
        "scalar" | "absent" => labels.clear(),
        _ => {}
    }
    Ok(labels)
}

fn known(label: &str, labels: &Labels) -> Result<(), String> {
    if labels.contains(label) {
        return Ok(());
    }
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    Err(format!("there is no label {label} among {}", labels.join(", ")))
}

#[test]
fn what_does_not_exist_is_found() {
    let catalogue = Catalogue::of_the_agent();
    for (expression, want) in [
        ("apparmor_enabled", Ok("instance job node")),
        ("sum by (verdict) (rate(apparmor_events_total[5m]))", Ok("verdict")),
        ("topk(3, sum by (pod) (apparmor_events_total))", Ok("pod")),
        ("sum without (le) (aa_monitor_event_latency_seconds_bucket)", Ok("instance job node source")),
        ("sum(apparmor_enabled) * on () group_left () aa_monitor_series", Ok("")),
        (
            "apparmor_enabled * on (node) group_left (version) aa_monitor_build_info",
            Ok("instance job node version"),
        ),
        (
            "time() - apparmor_last_event_timestamp_seconds{pod!=\"\"} < 600",
            Ok("container instance job namespace node pod profile verdict workload"),
        ),
        ("apparmor_event_total", Err("no metric is called apparmor_event_total")),
        ("aa_monitor_event_latency_seconds", Err("no metric is called")),
        ("apparmor_events_total{path=\"/x\"}", Err("no label path")),
        ("sum by (pod) (apparmor_node_events_total)", Err("no label pod")),
        ("sum by (pod) (sum by (node) (apparmor_events_total))", Err("no label pod")),
        ("apparmor_enabled * on (node) group_left (modus) apparmor_profiles", Err("no label modus")),
        ("apparmor_enabled * on (mode) apparmor_profiles", Err("no label mode")),
        ("rate(apparmor_events_total[5m)", Err("")),
    ] {
        match (labels(expression, &catalogue), want) {
            (Ok(got), Ok(want)) => {
                assert_eq!(got.into_iter().collect::<Vec<_>>().join(" "), want, "{expression}");
            }
            (Err(got), Err(want)) => assert!(got.contains(want), "{expression}: {got}"),
            (got, want) => panic!("{expression}: {got:?}, want {want:?}"),
        }
    }
}
