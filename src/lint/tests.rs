//! Each finding, and that what is right gets none.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Finding, RULES, Severity, Subject, check};
use crate::activities::native::code::Code;
use crate::activities::native::evaluator::Evaluator;
use crate::activities::native::http::{HttpLimits, http_client};
use crate::activities::outgoing::Outgoing;
use crate::activities::registry::{Registry, Services};
use crate::activities::remote;
use crate::activities::spec::COMMON;
use crate::config::NodeSettings;
use crate::engine::NodeOptions;
use crate::expr::Limits;
use crate::host::graph_json::NodeRow;
use crate::telemetry::Telemetry;

const ID: &str = "15e7c5ff-7849-42ca-8ab4-c07979e1ec3f";

fn registry(host: Option<&str>) -> Registry {
    let settings = NodeSettings::from_env(|name| {
        host.filter(|_| name == "WORKFLOW_ACTIVITY_URL")
            .map(str::to_owned)
    })
    .unwrap();
    let limit = settings.node.timeout;
    let (remote, _) = remote::connect(&settings.activities, limit, &Telemetry::default()).unwrap();
    Registry::native(&Services {
        http: http_client().unwrap(),
        http_limits: HttpLimits::default(),
        expressions: Evaluator::new(Limits::default(), 1),
        max_depth: 5,
        code: Code::new(settings.code),
        outgoing: Outgoing::new(settings.outgoing).unwrap(),
        remote,
    })
}

fn findings(graph: &Value) -> Vec<Finding> {
    check(
        &Subject {
            graph_config: &graph.to_string(),
            rows: &[],
            workflow: Uuid::parse_str(ID).ok(),
        },
        &registry(None),
    )
}

/// Errors and warnings as `code node key`.
fn codes(graph: &Value) -> Vec<String> {
    findings(graph)
        .iter()
        .filter(|finding| finding.rule.severity != Severity::Info)
        .map(|finding| {
            let node = finding.node.as_ref().map_or("-", |id| id.as_str());
            match &finding.key {
                Some(key) => format!("{} {node} {key}", finding.rule.code),
                None => format!("{} {node}", finding.rule.code),
            }
        })
        .collect()
}

/// The only message under a code.
fn message(graph: &Value, code: &str) -> String {
    let all = findings(graph);
    let mut found = all.iter().filter(|finding| finding.rule.code == code);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {code} in {all:?}"));
    assert!(found.next().is_none(), "several {code} in {all:?}");
    first.message.clone()
}

/// A graph of `("id", "type", config)` and edges such as `a>b` or `a>b:label`.
fn graph(nodes: &[(&str, &str, Value)], edges: &str) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(id, node_type, config)| json!({"node_id": id, "node_type": node_type, "config": config}))
        .collect();
    let edges: Vec<Value> = edges
        .split_whitespace()
        .map(|edge| {
            let (from, to) = edge.split_once('>').unwrap();
            match to.split_once(':') {
                Some((to, label)) => json!({"from": from, "to": to, "branch": label}),
                None => json!({"from": from, "to": to}),
            }
        })
        .collect();
    json!({"nodes": nodes, "edges": edges})
}

fn trigger() -> (&'static str, &'static str, Value) {
    ("t", "trigger", json!({}))
}

/// A node that needs nothing more.
fn set(id: &str) -> (&str, &'static str, Value) {
    (id, "set_variable", json!({"variable_name": "x"}))
}

fn of<'a>(id: &'a str, node_type: &'a str) -> (&'a str, &'a str, Value) {
    (id, node_type, json!({}))
}

/// A trigger and one node with this configuration.
fn one(node_type: &str, config: Value) -> Value {
    graph(&[trigger(), ("n", node_type, config)], "t>n")
}

fn each() -> Value {
    json!({"array_expression": "input.items"})
}

#[test]
fn a_time_limit_that_is_none_is_told() {
    let mut graph = graph(&[trigger()], "");
    graph["timeout_seconds"] = json!("soon");
    let told = message(&graph, "unreadable");
    let expected = "graph_config: timeout_seconds is \"soon\"; it must be a number";
    assert!(told.starts_with(expected), "{told}");
    graph["timeout_seconds"] = json!(60);
    assert!(codes(&graph).is_empty());
}

#[test]
fn what_is_right_has_no_findings_but_how_it_is_read() {
    let all = findings(&graph(
        &[trigger(), set("a"), set("b"), set("c")],
        "t>a t>b a>c b>c",
    ));
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "info[entry] node \"t\": executions start at \"t\"",
            "info[join] node \"c\": waits for all that can still come: a, b"
        ]
    );
    assert_eq!(
        all[1].to_json(),
        json!({"severity": "info", "code": "join", "node": "c", "key": null,
               "message": "waits for all that can still come: a, b"})
    );
}

#[test]
fn what_cannot_be_read_is_one_finding() {
    let of_text = |text: &str| {
        let subject = Subject {
            graph_config: text,
            rows: &[],
            workflow: None,
        };
        check(&subject, &registry(None))
    };
    assert_eq!(of_text("{")[0].rule.code, "unreadable");
    assert_eq!(codes(&json!([])), ["unreadable -"]);
    assert_eq!(
        message(&json!({"nodes": [{"node_type": "map"}]}), "unreadable"),
        "node 1 has no node_id"
    );
    assert_eq!(codes(&json!({"nodes": []})), ["no-nodes -"]);
    assert_eq!(of_text("null")[0].rule.code, "no-nodes");
}

#[test]
fn rows_of_the_node_table_are_checked_too() {
    let rows = [NodeRow {
        node_id: "n".to_owned(),
        node_type: "map".to_owned(),
        config: None,
    }];
    let subject = Subject {
        graph_config: "null",
        rows: &rows,
        workflow: None,
    };
    let found = check(&subject, &registry(None));
    assert_eq!(found[0].rule.code, "missing-key");
}

#[test]
fn parts_that_do_not_fit_are_all_named() {
    let wrong = graph(&[trigger(), set("a")], "t>ghost t>a spirit>a");
    assert_eq!(codes(&wrong), ["unknown-edge-end -", "unknown-edge-end -"]);
    let text = findings(&wrong)[1].message.clone();
    assert_eq!(
        text,
        "edge 3 leads from \"spirit\" to \"a\", and there is no node \"spirit\""
    );
    assert_eq!(
        codes(&graph(&[set("a"), set("b"), set("a")], "a>b")),
        ["duplicate-node a"]
    );
    let cycle = graph(&[trigger(), set("a"), set("b")], "t>a a>b b>a");
    assert_eq!(codes(&cycle), ["cycle -"]);
    assert!(
        message(&cycle, "cycle").starts_with("cycle without a loop node: a → b → a; put a loop")
    );
    // What can be said without a graph is said all the same.
    let both = graph(&[trigger(), of("a", "map"), set("b")], "t>a a>b b>a");
    assert_eq!(codes(&both), ["cycle -", "missing-key a map_expression"]);
}

#[test]
fn where_it_starts_is_said_if_that_is_not_clear() {
    let two = graph(
        &[set("a"), trigger(), of("u", "trigger"), set("b")],
        "t>b u>b",
    );
    assert_eq!(
        codes(&two),
        [
            "several-triggers -",
            "unreachable-node a",
            "unreachable-node u"
        ]
    );
    let mut said = two.clone();
    said["entry_node_id"] = json!("u");
    assert_eq!(codes(&said), ["unreachable-node a", "unreachable-node t"]);
    said["entry_node_id"] = json!("gone");
    assert!(codes(&said).contains(&"unknown-entry -".to_owned()));
    assert_eq!(
        codes(&graph(&[trigger(), set("a")], "t>a t>a")),
        ["repeated-edge t"]
    );
}

#[test]
fn a_type_that_nobody_runs_says_what_it_needs() {
    let unknown = one("frobnicate", json!({}));
    assert_eq!(codes(&unknown), ["unknown-type n"]);
    assert!(message(&one("agent", json!({})), "unknown-type").contains("WORKFLOW_ACTIVITY_URL"));
    let text = one("agent", json!({"task": 1, "tsak": "x"})).to_string();
    let subject = Subject {
        graph_config: &text,
        rows: &[],
        workflow: None,
    };
    let with_host = check(&subject, &registry(Some("http://127.0.0.1:1")));
    let found: Vec<&str> = with_host.iter().map(|finding| finding.rule.code).collect();
    // The host may take what the platform's own handler does not expect.
    assert_eq!(found, ["odd-value", "mistyped-key", "entry"]);
}

/// Each line is `finding | type | configuration` of a node behind a trigger, which has that finding and no other.
fn each_has(lines: &str) {
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, " | ");
        let mut next = || parts.next().unwrap();
        let (expected, node_type, config) = (next(), next(), next());
        let found = codes(&one(node_type, serde_json::from_str(config).unwrap()));
        let found: Vec<&String> = found
            .iter()
            .filter(|code| !["empty-loop n", "several-triggers -"].contains(&code.as_str()))
            .collect();
        let wanted: Vec<&str> = [expected].into_iter().filter(|code| *code != "-").collect();
        assert_eq!(found, wanted, "{line}");
    }
}

#[test]
fn keys_that_are_missing_or_wrong_are_named() {
    each_has(
        r##"
missing-key n url | http_request | {}
missing-key n url | http_request | {"url": " "}
wrong-value n url | http_request | {"url": 7}
wrong-value n url | http_request | {"url": "example.com"}
wrong-value n method | http_request | {"url": "https://example.com", "method": "FETCH"}
wrong-value n headers | http_request | {"url": "https://example.com", "headers": "x"}
wrong-value n timeout | http_request | {"url": "https://example.com", "timeout": "soon"}
wrong-value n condition_type | condition | {"condition_type": "ruby", "expression": "1"}
wrong-value n language | code | {"code": "1", "language": "cobol"}
wrong-value n runtime | code | {"code": "1", "runtime": "e2b"}
missing-key n prompt | ai_prompt | {}
missing-key n array_expression | loop | {}
missing-key n condition_expression | while | {}
wrong-value n repeat_count | repeat | {"repeat_count": 1.5}
wrong-value n loop_type | loop | {"loop_type": "until"}
missing-key n delay_seconds | delay | {}
missing-key n target_time | delay | {"delay_type": "until_time"}
wrong-value n target_time | delay | {"delay_type": "until_time", "target_time": "noon"}
missing-key n condition_expression | delay | {"delay_type": "until_condition"}
wrong-value n workflow_id | sub_workflow | {"workflow_id": "mine"}
wrong-value n input_sources | merge | {"input_sources": "a"}
wrong-value n variable_scope | set_variable | {"variable_name": "x", "variable_scope": "global"}
wrong-value n channel | notification | {"channel": "fax", "message": "x"}
bad-option n retries | set_variable | {"variable_name": "x", "retries": "many"}
bad-option n parallel_wait_mode | set_variable | {"variable_name": "x", "parallel_wait_mode": "n_of_m"}
mistyped-key n retry_dealy | set_variable | {"variable_name": "x", "retry_dealy": 1}
mistyped-key n condtion | if | {"expression": "1", "condtion": "x"}
odd-value n trigger_type | trigger | {"trigger_type": "moon"}
"##,
    );
}

#[test]
fn what_a_node_takes_in_another_form_is_right() {
    each_has(
        r##"
- | http_request | {"url": "https://example.com", "method": "post", "timeout": "5"}
- | http_request | {"url": "{{ base }}/x", "method": "{{ m }}", "timeout": "${t}"}
- | http_request | {"url": "https://example.com", "body": [1], "label": "call"}
- | condition | {"condition": true, "condition_type": "JS"}
- | code | {"code": "echo", "language": "sh"}
- | code | {"code": {"a": 1}, "language": "json"}
- | map | {"map_expression": "item", "input_array": [1, 2]}
- | sub_workflow | {"workflow_id": "{{ which }}"}
- | sub_workflow | {"workflow_id": "00000000-0000-0000-0000-000000000000", "wait_for_completion": "true"}
- | ai_prompt | {"messages": [{"role": "user", "content": "x"}]}
- | split | {"split_config": "{\"size\": 2}", "split_strategy": "by_size"}
- | human_approval | {"approval_options": "yes, no", "approval_message": "{{ what }}"}
- | set_variable | {"variable_name": "x", "customer_note": 1, "retries": ""}
"##,
    );
}

#[test]
fn each_common_key_is_one_that_is_read() {
    for key in COMMON {
        // The one says how many of the other; the other is read by expressions.
        if ["parallel_wait_n", "personalization"].contains(&key.name) {
            continue;
        }
        let config = json!({key.name: {"no": "such value"}});
        let error = NodeOptions::read(config.as_object().unwrap()).unwrap_err();
        assert!(error.starts_with(key.name), "{error}");
    }
}

#[test]
fn templates_expressions_and_programs_are_read() {
    each_has(
        r##"
bad-template n variable_value.a[0] | set_variable | {"variable_name": "x", "variable_value": {"a": ["{{ b"]}}
bad-template n variable_value | set_variable | {"variable_name": "x", "variable_value": "{{ 1 + }}"}
bad-expression n expression | condition | {"expression": "input.a >"}
bad-expression n expression | condition | {"expression": "{{ a b }}"}
bad-expression n expression | condition | {"expression": "a >", "condition_type": "python"}
bad-expression n expression | condition | {"expression": "a.b", "condition_type": "jsonpath"}
bad-expression n expression | condition | {"expression": "call-1.output.x"}
bad-expression n map_expression | map | {"map_expression": "item =>"}
bad-expression n input_sources[1] | merge | {"input_sources": ["a", "b +"]}
bad-expression n split_config.condition | split | {"split_strategy": "by_condition", "split_config": {"condition": "item >"}}
bad-expression n input_mapping.a | sub_workflow | {"workflow_id": "00000000-0000-0000-0000-000000000000", "input_mapping": {"a": "b +"}}
bad-code n code | code | {"code": "let a = ;", "language": "javascript"}
bad-code n code | code | {"code": "let a: number = ;", "language": "typescript"}
bad-code n code | code | {"code": "{", "language": "json"}
"##,
    );
    let text = message(
        &one("condition", json!({"expression": "a ? b"})),
        "bad-expression",
    );
    assert!(text.starts_with("\"a ? b\": syntax error: "), "{text}");
}

#[test]
fn what_can_be_read_is_not_run() {
    each_has(
        r##"
- | condition | {"expression": "${n} > 5 && '${data.name}' == 'x'"}
- | condition | {"expression": "${n} > 5", "condition_type": "python"}
- | condition | {"expression": "undefinedName.x"}
- | condition | {"expression": "{{ input.a > 1 }}"}
- | condition | {"expression": "return a > 1;"}
- | map | {"map_expression": "(item, i) => item * i", "input_array": "call-1.output.json"}
- | map | {"map_expression": "lambda item: item", "condition_type": "python"}
- | filter | {"filter_condition": "$.item[?@ > 3]", "condition_type": "jsonpath", "input_array": "[1].concat(2)"}
- | merge | {"input_sources": ["a-b.output ?? null", "input.a", {"b": 1}]}
- | code | {"code": "while (true) {}", "language": "javascript"}
- | code | {"code": "return await f(`{{ x`)", "language": "javascript"}
- | code | {"code": "def (:", "language": "python"}
- | set_variable | {"variable_name": "x", "variable_value": "\\{{ {{ a ?? 'b' }} ${f(1)}"}
"##,
    );
}

#[test]
fn a_text_that_nests_without_end_is_no_trouble() {
    for (language, open) in [("python", "("), ("javascript", "(")] {
        for length in [200, 16 << 10, 60_000] {
            let config = json!({"expression": open.repeat(length), "condition_type": language});
            findings(&one("condition", config));
        }
    }
    for length in [200, 16 << 10, 900_000] {
        let config = json!({"code": "[".repeat(length), "language": "typescript"});
        findings(&one("code", config));
    }
}

#[test]
fn unlabelled_edges_of_a_decision_are_told() {
    let condition = ("c", "condition", json!({"expression": "a"}));
    let nodes = [trigger(), condition, set("x"), set("y")];
    assert_eq!(codes(&graph(&nodes, "t>c c>x:true c>y:false")), [""; 0]);
    assert_eq!(
        message(&graph(&nodes, "t>c c>x c>y"), "unlabelled-branches"),
        "the edges to x, y have no label: all of them are taken, whatever is decided; label each with the branch that it \
         is for"
    );
    assert_eq!(
        codes(&graph(&nodes, "t>c c>x:true c>y")),
        ["unlabelled-branches c"]
    );
    assert_eq!(
        message(&graph(&nodes[..3], "t>c c>x"), "unlabelled-branches"),
        "the edge to \"x\" has no label: it is taken whatever is decided; label it with the branch that it is for"
    );
    let approval = graph(&[trigger(), of("c", "human_approval"), set("x")], "t>c c>x");
    assert!(message(&approval, "unlabelled-branches").contains("also after a refusal"));
}

#[test]
fn labels_that_nothing_chooses_are_told() {
    let condition = ("c", "condition", json!({"expression": "a"}));
    let nodes = [trigger(), condition, set("x"), set("y")];
    assert_eq!(
        message(&graph(&nodes, "t>c c>x:ture c>y:false"), "unknown-branch"),
        "the edge to \"x\" has the label \"ture\", which is never chosen; is \"true\" meant?"
    );
    assert!(
        message(&graph(&nodes, "t>c c>x:True c>y:false"), "unknown-branch")
            .contains("is \"true\" meant?")
    );
    assert!(
        message(
            &graph(&nodes, "t>c c>x:perhaps c>y:false"),
            "unknown-branch"
        )
        .ends_with("it can be true, false")
    );
    let switch = (
        "c",
        "switch",
        json!({"switch_expression": "a", "cases": {"de": 1, "fr": 2}}),
    );
    let nodes = [trigger(), switch, set("x"), set("y")];
    assert_eq!(codes(&graph(&nodes, "t>c c>x:de c>y:fr")), [""; 0]);
    assert_eq!(
        message(
            &graph(&nodes, "t>c c>x:de c>y:default"),
            "branch-without-edge"
        ),
        "no edge has the label \"fr\": where that is chosen, the path ends here"
    );
    assert_eq!(
        codes(&graph(&nodes, "t>c c>x:de c>y:es")),
        ["unknown-branch c", "branch-without-edge c"]
    );
    let approval = (
        "c",
        "human_approval",
        json!({"approval_options": ["yes", "no"]}),
    );
    let nodes = [trigger(), approval, set("x"), set("y")];
    assert_eq!(
        codes(&graph(&nodes, "t>c c>x:yes c>y:timeout")),
        ["branch-without-edge c"]
    );
    assert_eq!(
        codes(&graph(&nodes, "t>c c>x:yes c>y:approve")),
        ["unknown-branch c", "branch-without-edge c"]
    );
}

#[test]
fn labels_on_nodes_that_take_all_their_edges_are_told() {
    let nodes = [trigger(), set("a"), set("b")];
    let text = message(&graph(&nodes, "t>a a>b:error"), "label-without-effect");
    assert!(
        text.contains("it takes all its edges; to handle an error, put a try"),
        "{text}"
    );
    let text = message(&graph(&nodes, "t>a a>b:timeout"), "label-without-effect");
    assert!(text.ends_with("a set_variable node never does"), "{text}");
    let nodes = [trigger(), ("l", "loop", each()), set("a"), set("b")];
    assert_eq!(codes(&graph(&nodes, "t>l l>a:Body l>b:done")), [""; 0]);
    assert_eq!(
        codes(&graph(&nodes, "t>l l>a:body l>b:next")),
        ["label-without-effect l"]
    );
    let nodes = [
        trigger(),
        ("w", "wait_for_signal", json!({"signal_type": "x"})),
        set("a"),
    ];
    assert_eq!(codes(&graph(&nodes, "t>w w>a:timeout")), [""; 0]);
    assert_eq!(
        codes(&graph(&nodes, "t>w w>a:late")),
        ["label-without-effect w"]
    );
}

#[test]
fn loops_are_told_as_they_are_read() {
    let nodes = [
        trigger(),
        ("l", "loop", each()),
        set("a"),
        set("b"),
        set("c"),
    ];
    assert_eq!(
        message(&graph(&nodes, "t>l l>a a>b b>l l>c"), "loop"),
        "repeats: a, b; then: c"
    );
    assert_eq!(
        message(&graph(&nodes, "t>l l>a:body a>b l>c:done"), "loop"),
        "repeats: a, b; then: c"
    );
    let all = graph(&nodes, "t>l l>a a>b b>c");
    assert_eq!(codes(&all), ["loop-takes-all l"]);
    assert!(message(&all, "loop-takes-all").contains("(a, b, c)"));
    assert_eq!(codes(&graph(&nodes[..3], "t>l l>a")), [""; 0]);
    assert_eq!(codes(&graph(&nodes[..2], "t>l")), ["empty-loop l"]);
    assert_eq!(codes(&graph(&nodes[..3], "t>l l>a:done")), ["empty-loop l"]);
    // The end of an inner loop is not where an outer one goes on.
    let nested = [
        trigger(),
        ("l", "loop", each()),
        ("m", "loop", each()),
        set("a"),
        set("b"),
    ];
    let nested = graph(&nested, "t>l l>m m>a a>m m>l l>b");
    let told: Vec<String> = findings(&nested)
        .into_iter()
        .filter(|finding| finding.rule.code == "loop")
        .map(|finding| finding.message)
        .collect();
    assert_eq!(told[0], "repeats: m, a; then: b");
    assert!(told[1].starts_with("repeats: a; then: "), "{told:?}");
}

#[test]
fn a_break_needs_a_loop_around_it() {
    let of_label = |label: &str| {
        let nodes = [
            trigger(),
            (
                "l",
                "loop",
                json!({"array_expression": "a", "loop_label": "rows"}),
            ),
            set("a"),
            ("b", "break", json!({"loop_label": label})),
            set("c"),
        ];
        graph(&nodes, "t>l l>a:body a>b l>c:done")
    };
    for label in ["", "rows", " l ", "{{ which }}"] {
        assert_eq!(codes(&of_label(label)), [""; 0], "{label}");
    }
    assert_eq!(codes(&of_label("columns")), ["unknown-loop b loop_label"]);
    assert!(message(&of_label("columns"), "unknown-loop").ends_with("around it: rows, l"));
    let outside = graph(&[trigger(), of("b", "continue")], "t>b");
    assert_eq!(codes(&outside), ["break-outside-loop b"]);
}

#[test]
fn tries_are_told_as_they_are_read() {
    let nodes = [
        trigger(),
        of("try", "try"),
        set("a"),
        of("c", "catch"),
        of("f", "finally"),
        set("z"),
    ];
    let tried = graph(&nodes, "t>try try>a a>c c>f f>z");
    assert_eq!(codes(&tried), [""; 0]);
    assert_eq!(
        message(&tried, "try"),
        "tries: a; on error: c; in any case: f; then: z"
    );
    let stray = graph(
        &[trigger(), set("a"), of("c", "catch"), of("f", "finally")],
        "t>a a>c",
    );
    assert_eq!(
        codes(&stray),
        ["catch-without-try c", "catch-without-try f"]
    );
}

#[test]
fn a_count_of_branches_that_are_not_there_is_told() {
    let of_count = |n: u32| {
        let config =
            json!({"variable_name": "x", "parallel_wait_mode": "n_of_m", "parallel_wait_n": n});
        graph(
            &[trigger(), ("p", "set_variable", config), set("a"), set("b")],
            "t>p p>a p>b",
        )
    };
    assert_eq!(codes(&of_count(2)), [""; 0]);
    assert_eq!(codes(&of_count(3)), ["too-many-awaited p parallel_wait_n"]);
}

#[test]
fn what_is_read_must_be_able_to_run_before() {
    let with = |value: &str, edges: &str| {
        let reader = (
            "r",
            "set_variable",
            json!({"variable_name": "x", "variable_value": value}),
        );
        codes(&graph(&[trigger(), set("a"), reader, set("late-1")], edges))
    };
    let line = "t>a a>r r>late-1";
    let wrong = ["reads-later-node r variable_value"];
    for right in [
        "{{ a.output.value }}",
        "{{ t }}",
        "{{ input.late }}",
        "{{ late-1.output ?? 1 }}",
        "{{ item.output }}",
    ] {
        assert_eq!(with(right, line), [""; 0], "{right}");
    }
    for value in [
        "{{ late-1.output.value }}",
        "{{ nodes.late-1.value }}",
        "{{ late-1_output.value }}",
        "x ${input.late-1_output.value}",
        "{{ r.output.value }}",
        "{{ f(data['late-1_output']) }}",
    ] {
        assert_eq!(with(value, line), wrong, "{value}");
    }
    // On another branch it cannot have run either; in a loop the round before may have run it.
    assert_eq!(with("{{ late-1.value }}", "t>a a>r a>late-1"), wrong);
    assert_eq!(
        with("{{ nodes.gone.value }}", line),
        ["unknown-node r variable_value"]
    );
    assert_eq!(
        with("{{ late-2.output }}", line),
        ["unknown-node r variable_value"]
    );
    let expressions = [
        trigger(),
        (
            "c",
            "map",
            json!({"map_expression": "item + a_output.x", "input_array": "a.output.result"}),
        ),
        set("a"),
    ];
    assert_eq!(
        codes(&graph(&expressions, "t>c c>a")),
        [
            "reads-later-node c map_expression",
            "reads-later-node c input_array"
        ]
    );
}

#[test]
fn a_round_and_an_error_lead_to_what_reads_them() {
    let reader = |id, of: &str| {
        (
            id,
            "set_variable",
            json!({"variable_name": "x", "variable_value": format!("{{{{ {of}.value }}}}")}),
        )
    };
    let looped = [
        trigger(),
        ("l", "loop", each()),
        reader("a", "b"),
        set("b"),
        reader("c", "a"),
    ];
    assert_eq!(codes(&graph(&looped, "t>l l>a a>b b>l l>c")), [""; 0]);
    assert_eq!(
        codes(&graph(&looped, "t>l l>a:body a>b b>l l>c:done")),
        [""; 0]
    );
    let tried = [
        trigger(),
        of("y", "try"),
        set("a"),
        of("c", "catch"),
        reader("d", "a"),
    ];
    assert_eq!(codes(&graph(&tried, "t>y y>a:body y>c:catch c>d")), [""; 0]);
}

#[test]
fn a_workflow_that_starts_itself_is_told() {
    let sub = ("s", "sub_workflow", json!({"workflow_id": ID}));
    let always = graph(&[trigger(), sub.clone()], "t>s");
    assert_eq!(codes(&always), ["endless-recursion s workflow_id"]);
    let condition = ("c", "condition", json!({"expression": "a"}));
    let sometimes = graph(&[trigger(), condition, sub], "t>c c>s:true");
    assert_eq!(codes(&sometimes), ["recursion s workflow_id"]);
}

#[test]
fn each_code_stands_once_and_is_documented() {
    let document = include_str!("../../docs/lint.md");
    let rows: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = RULES
        .iter()
        .map(|rule| {
            format!(
                "| `{}` | {} | {}",
                rule.code,
                rule.severity.as_str(),
                rule.about
            )
        })
        .collect();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(
            row.starts_with(expected),
            "docs/lint.md: {row}\nmust begin: {expected}"
        );
    }
}
