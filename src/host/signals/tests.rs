use proptest::prelude::*;
use serde_json::json;

use super::super::tests::any_json;
use super::*;

const APPROVAL: &str = "human_approval";

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(second, 0).unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn row(number: u128, second: i64, signal_type: &str, data: Value) -> SignalRow {
    SignalRow {
        id: id(number),
        signal_type: signal_type.to_owned(),
        data,
        received_at: at(second),
        is_processed: false,
    }
}

fn processed(row: SignalRow) -> SignalRow {
    SignalRow {
        is_processed: true,
        ..row
    }
}

fn request_data(node: &str) -> Value {
    json!({ "node_id": node, "message": "Ship it?", "options": ["Approve", "Reject"], "timeout_seconds": 3600 })
}

fn approval(node: &str) -> SignalWait {
    SignalWait {
        signal_type: APPROVAL.to_owned(),
        request: request_data(node).as_object().cloned(),
        options: vec!["Approve".to_owned(), "Reject".to_owned()],
        correlation_id: None,
    }
}

fn plain(signal_type: &str) -> SignalWait {
    SignalWait {
        signal_type: signal_type.to_owned(),
        request: None,
        options: Vec::new(),
        correlation_id: None,
    }
}

fn open<'a>(node: &str, number: u128, since: i64, wait: &'a SignalWait) -> OpenWait<'a> {
    OpenWait {
        node: NodeId::from(node),
        request_id: id(number),
        since: at(since),
        wait,
        refused: None,
    }
}

/// The result for one approval of node `a`, asked at second 10 in row 1.
fn of_one(rows: &[SignalRow]) -> Matched {
    let wait = approval("a");
    match_signals(&[open("a", 1, 10, &wait)], rows)
}

fn decisions(matched: &Matched) -> Vec<(usize, Option<&str>)> {
    matched
        .answers
        .iter()
        .map(|answer| (answer.wait, answer.decision.as_deref()))
        .collect()
}

/// The decision that a row with these data comes to, or the refusal, or that it is nothing.
fn read(data: Value, options: &[&str]) -> Result<String, String> {
    let mut wait = approval("a");
    wait.options = options.iter().map(|option| (*option).to_owned()).collect();
    let matched = match_signals(&[open("a", 1, 10, &wait)], &[row(2, 11, APPROVAL, data)]);
    match (matched.answers.first(), matched.refusals.first()) {
        (Some(answer), None) => Ok(answer.decision.clone().unwrap()),
        (None, Some(refusal)) => Err(refusal.text.clone()),
        (None, None) => Err("nothing".to_owned()),
        (Some(_), Some(_)) => panic!("an answer cannot be refused as well"),
    }
}

#[test]
fn the_request_itself_is_never_the_answer() {
    assert_eq!(
        of_one(&[row(1, 10, APPROVAL, request_data("a"))]),
        Matched::default()
    );
    // Nor is the request of another node, nor one that an earlier worker has left.
    assert_eq!(
        of_one(&[row(7, 11, APPROVAL, request_data("b"))]),
        Matched::default()
    );
}

#[test]
fn a_new_row_answers_and_both_rows_are_dealt_with() {
    let data = json!({ "node_id": "a", "decision": "approve", "comment": "fine", "by": "kim" });
    let matched = of_one(&[
        row(1, 10, APPROVAL, request_data("a")),
        row(2, 11, APPROVAL, data.clone()),
    ]);
    assert_eq!(
        matched.answers,
        [Answer {
            wait: 0,
            decision: Some("Approve".to_owned()),
            data: data.as_object().cloned().unwrap(),
            signal_type: APPROVAL.to_owned(),
            consumed: vec![id(2), id(1)],
        }]
    );
    assert!(matched.refusals.is_empty() && matched.late.is_empty());
}

#[test]
fn an_answer_written_into_the_request_comes_without_the_request() {
    let mut data = request_data("a");
    data["decision"] = json!("REJECT ");
    data["comment"] = json!("no");
    let matched = of_one(&[row(1, 10, APPROVAL, data)]);
    assert_eq!(decisions(&matched), [(0, Some("Reject"))]);
    let answer = &matched.answers[0];
    assert_eq!(
        Value::Object(answer.data.clone()),
        json!({ "decision": "REJECT ", "comment": "no" })
    );
    assert_eq!(answer.consumed, [id(1)]);
}

#[test]
fn an_answer_written_into_the_request_of_an_earlier_worker_is_taken() {
    let mut data = request_data("a");
    data["approved"] = json!(true);
    let matched = of_one(&[row(9, 5, APPROVAL, data)]);
    assert_eq!(decisions(&matched), [(0, Some("Approve"))]);
    assert!(!matched.answers[0].data.contains_key("options"));
}

#[test]
fn each_of_the_three_types_answers_and_no_other() {
    for signal_type in ["human_approval", "human_input", "approval_response"] {
        let matched = of_one(&[row(2, 11, signal_type, json!({ "decision": "approve" }))]);
        assert_eq!(matched.answers.len(), 1, "{signal_type}");
    }
    assert_eq!(
        of_one(&[row(2, 11, "webhook", json!({ "decision": "approve" }))]),
        Matched::default()
    );
}

#[test]
fn a_decision_may_be_spelled_in_many_ways() {
    let options = ["Approve", "Reject"];
    for (data, expected) in [
        (json!({ "decision": "approve" }), "Approve"),
        (json!({ "decision": " APPROVE\n" }), "Approve"),
        (json!({ "decision": "approved" }), "Approve"),
        (json!({ "decision": "Rejected" }), "Reject"),
        (json!({ "decision": true }), "Approve"),
        (json!({ "response": "reject" }), "Reject"),
        (json!({ "option": "reject" }), "Reject"),
        (json!({ "approved": true }), "Approve"),
        (json!({ "approved": false }), "Reject"),
        (json!({ "approved": "True" }), "Approve"),
        (
            json!({ "decision": null, "response": " ", "approved": false }),
            "Reject",
        ),
        // The first key counts.
        (
            json!({ "approved": false, "option": "reject", "decision": "approve" }),
            "Approve",
        ),
        (json!("{\"decision\": \"approve\"}"), "Approve"),
    ] {
        assert_eq!(
            read(data.clone(), &options).as_deref(),
            Ok(expected),
            "{data}"
        );
    }
    assert_eq!(
        read(json!({ "decision": 2 }), &["1", "2"]).as_deref(),
        Ok("2")
    );
    assert_eq!(
        read(json!({ "decision": "b" }), &["B", "b"]).as_deref(),
        Ok("b")
    );
    assert_eq!(
        read(json!({ "decision": "ÄNDERN" }), &["ändern"]).as_deref(),
        Ok("ändern")
    );
}

#[test]
fn yes_and_no_mean_the_option_of_that_name_else_the_first_and_the_second() {
    let yes = json!({ "approved": true });
    let no = json!({ "approved": false });
    for (options, of_yes, of_no) in [
        (["No", "Yes"], "Yes", "No"),
        (["deny", "ok"], "ok", "deny"),
        (["ship", "hold"], "ship", "hold"),
    ] {
        assert_eq!(read(yes.clone(), &options).as_deref(), Ok(of_yes));
        assert_eq!(read(no.clone(), &options).as_deref(), Ok(of_no));
    }
    let refusal = read(no, &["ship"]).unwrap_err();
    assert_eq!(
        refusal,
        "Signal refused: approved: false is not one of the options: ship"
    );
}

#[test]
fn what_is_no_option_is_refused_with_who_and_what_and_the_wait_goes_on() {
    let rows = [
        row(1, 10, APPROVAL, request_data("a")),
        row(
            2,
            11,
            APPROVAL,
            json!({ "decision": "maybe", "by": "kim@example.com" }),
        ),
        row(
            3,
            12,
            "human_input",
            json!({ "response": { "deep": [1] }, "by": 7 }),
        ),
        row(4, 13, APPROVAL, json!({ "decision": "approve" })),
    ];
    let matched = of_one(&rows);
    assert_eq!(
        matched.refusals,
        [
            Refusal {
                wait: 0,
                text: "Signal refused: decision \"maybe\" by kim@example.com is not one of the options: Approve, Reject"
                    .to_owned(),
                consumed: Some(id(2)),
            },
            Refusal {
                wait: 0,
                text: "Signal refused: decision \"{\\\"deep\\\":[1]}\" by 7 is not one of the options: Approve, Reject"
                    .to_owned(),
                consumed: Some(id(3)),
            },
        ]
    );
    assert_eq!(decisions(&matched), [(0, Some("Approve"))]);
}

#[test]
fn a_refusal_in_the_requests_own_row_is_told_once_and_the_row_stays_open() {
    let mut data = request_data("a");
    data["decision"] = json!("maybe");
    let rows = [row(1, 10, APPROVAL, data.clone())];
    let wait = approval("a");
    let mut open = open("a", 1, 10, &wait);
    let matched = match_signals(&[open.clone()], &rows);
    let text = matched.refusals[0].text.clone();
    assert_eq!(matched.refusals[0].consumed, None);

    open.refused = Some(text);
    assert_eq!(match_signals(&[open.clone()], &rows), Matched::default());
    // Written again, and wrong again.
    data["decision"] = json!("perhaps");
    let again = match_signals(&[open.clone()], &[row(1, 10, APPROVAL, data.clone())]);
    assert_eq!(again.refusals.len(), 1);
    data["decision"] = json!("approve");
    let right = match_signals(&[open], &[row(1, 10, APPROVAL, data)]);
    assert_eq!(decisions(&right), [(0, Some("Approve"))]);
}

#[test]
fn the_first_answer_counts_and_the_second_changes_nothing() {
    let rows = [
        row(4, 12, APPROVAL, json!({ "decision": "reject" })),
        row(3, 11, APPROVAL, json!({ "decision": "approve" })),
        row(
            5,
            13,
            APPROVAL,
            json!({ "decision": "approve", "signal_id": id(1) }),
        ),
        row(
            6,
            14,
            APPROVAL,
            json!({ "decision": "maybe", "node_id": "a" }),
        ),
    ];
    let matched = of_one(&rows);
    assert_eq!(decisions(&matched), [(0, Some("Approve"))]);
    assert_eq!(matched.answers[0].consumed, [id(3), id(1)]);
    assert_eq!(matched.late, [id(4), id(5), id(6)]);
    assert!(matched.refusals.is_empty());
    // At the same time the smaller id is the first, in whatever order the rows come.
    let tie = [
        row(9, 11, APPROVAL, json!({ "decision": "reject" })),
        row(8, 11, APPROVAL, json!({ "decision": "approve" })),
    ];
    assert_eq!(decisions(&of_one(&tie)), [(0, Some("Approve"))]);
}

#[test]
fn an_answer_goes_to_the_request_that_it_names() {
    let (a, b) = (approval("a"), approval("b"));
    let waits = [
        open("a", 1, 10, &a),
        open("b", 2, 20, &b),
        open("b", 3, 30, &b),
    ];
    let answer_to = |data: Value| {
        let matched = match_signals(&waits, &[row(9, 40, APPROVAL, data)]);
        matched.answers.first().map(|answer| answer.wait)
    };
    assert_eq!(answer_to(json!({ "approved": true })), Some(0));
    assert_eq!(
        answer_to(json!({ "approved": true, "node_id": "b" })),
        Some(1)
    );
    assert_eq!(
        answer_to(json!({ "approved": true, "signal_id": id(3) })),
        Some(2)
    );
    assert_eq!(
        answer_to(json!({ "approved": true, "request_id": id(2), "node_id": "a" })),
        Some(1)
    );
    assert_eq!(answer_to(json!({ "approved": true, "node_id": "c" })), None);
    assert_eq!(
        answer_to(json!({ "approved": true, "signal_id": id(77) })),
        None
    );
}

#[test]
fn several_answers_end_several_waits_of_one_node() {
    let wait = approval("a");
    let waits = [open("a", 1, 20, &wait), open("a", 2, 10, &wait)];
    let rows = [
        row(8, 30, APPROVAL, json!({ "decision": "approve" })),
        row(
            9,
            31,
            APPROVAL,
            json!({ "decision": "reject", "node_id": "a" }),
        ),
    ];
    let matched = match_signals(&waits, &rows);
    assert_eq!(
        decisions(&matched),
        [(1, Some("Approve")), (0, Some("Reject"))],
        "the oldest first"
    );
}

#[test]
fn an_answer_that_comes_before_any_request_is_kept_for_it() {
    let early = row(5, 3, APPROVAL, json!({ "decision": "reject" }));
    let other = plain("webhook");
    assert_eq!(
        match_signals(&[open("w", 2, 1, &other)], std::slice::from_ref(&early)),
        Matched::default()
    );
    assert_eq!(decisions(&of_one(&[early])), [(0, Some("Reject"))]);
}

#[test]
fn an_answer_for_a_request_that_is_over_never_answers_the_next() {
    let over = processed(row(7, 2, APPROVAL, request_data("a")));
    let late = |number, data: Value| row(number, 5, APPROVAL, data);
    let rows = [
        over.clone(),
        late(20, json!({ "decision": "approve" })),
        late(21, json!({ "decision": "approve", "node_id": "a" })),
        late(22, json!({ "decision": "maybe" })),
        // Even now.
        row(
            23,
            15,
            APPROVAL,
            json!({ "decision": "approve", "signal_id": id(7) }),
        ),
    ];
    let matched = of_one(&rows);
    assert!(matched.answers.is_empty() && matched.refusals.is_empty());
    assert_eq!(matched.late, [id(20), id(21), id(22), id(23)]);

    // It was before that request as well; or is for another node than that request; or names this one.
    for data in [
        (1, json!({ "decision": "approve" })),
        (5, json!({ "decision": "approve", "signal_id": id(1) })),
    ] {
        let matched = of_one(&[over.clone(), row(20, data.0, APPROVAL, data.1)]);
        assert_eq!(decisions(&matched), [(0, Some("Approve"))]);
    }
    let of_another = processed(row(7, 2, APPROVAL, request_data("b")));
    let for_a = late(20, json!({ "decision": "approve", "node_id": "a" }));
    assert_eq!(
        decisions(&of_one(&[of_another, for_a])),
        [(0, Some("Approve"))]
    );
}

#[test]
fn a_request_that_was_answered_in_its_own_row_is_a_request_still() {
    let mut data = request_data("a");
    data["decision"] = json!("approve");
    let over = processed(row(7, 2, APPROVAL, data));
    let matched = of_one(&[over, row(20, 5, APPROVAL, json!({ "decision": "approve" }))]);
    assert_eq!(matched.late, [id(20)]);
    // A processed answer that has a message is none.
    let answer = processed(row(
        7,
        2,
        APPROVAL,
        json!({ "decision": "approve", "message": "ok" }),
    ));
    let matched = of_one(&[
        answer,
        row(20, 5, APPROVAL, json!({ "decision": "approve" })),
    ]);
    assert_eq!(matched.answers.len(), 1);
}

#[test]
fn a_processed_row_answers_nothing() {
    let rows = [processed(row(
        2,
        11,
        APPROVAL,
        json!({ "decision": "approve" }),
    ))];
    assert_eq!(of_one(&rows), Matched::default());
}

#[test]
fn any_other_type_ends_the_wait_for_it_early_or_not() {
    let wait = plain("connector_ready");
    let waits = [open("w", 1, 10, &wait)];
    let rows = [
        row(2, 12, "connector_ready", json!({ "n": 2 })),
        row(3, 4, "connector_ready", json!({ "n": 1, "message": "hi" })),
        row(4, 11, "webhook", json!({ "n": 3 })),
    ];
    let matched = match_signals(&waits, &rows);
    assert_eq!(
        matched.answers,
        [Answer {
            wait: 0,
            decision: None,
            data: json!({ "n": 1, "message": "hi" })
                .as_object()
                .cloned()
                .unwrap(),
            signal_type: "connector_ready".to_owned(),
            consumed: vec![id(3)],
        }]
    );
    assert!(
        matched.late.is_empty(),
        "the second is kept for the next wait"
    );
    assert_eq!(match_signals(&[], &rows), Matched::default());
}

#[test]
fn a_correlation_id_tells_signals_of_one_type_apart() {
    let mut wait = plain("webhook");
    wait.correlation_id = Some("42".to_owned());
    let waits = [open("w", 1, 10, &wait)];
    let rows = [
        row(2, 11, "webhook", json!({})),
        row(3, 12, "webhook", json!({ "correlation_id": "41" })),
        row(4, 13, "webhook", json!({ "correlation_id": 42 })),
    ];
    let matched = match_signals(&waits, &rows);
    assert_eq!(matched.answers[0].consumed, [id(4)]);
}

#[test]
fn two_waits_for_one_type_take_a_signal_each() {
    let wait = plain("webhook");
    let waits = [open("x", 1, 20, &wait), open("y", 2, 10, &wait)];
    let rows = [
        row(5, 30, "webhook", json!({ "n": 1 })),
        row(6, 31, "webhook", json!({ "n": 2, "node_id": "y" })),
        row(7, 32, "webhook", json!({ "n": 3, "node_id": "x" })),
    ];
    let answers: Vec<_> = match_signals(&waits, &rows)
        .answers
        .iter()
        .map(|answer| (answer.wait, answer.consumed[0]))
        .collect();
    // Row 6 names a wait that is over by then, so it is kept.
    assert_eq!(answers, [(1, id(5)), (0, id(7))]);
}

#[test]
fn a_foreign_systems_own_ids_do_not_keep_its_signal_from_the_wait() {
    let wait = plain("webhook");
    let waits = [open("w", 1, 10, &wait)];
    let data = json!({ "node_id": "their-node", "request_id": id(99) });
    let matched = match_signals(&waits, &[row(2, 11, "webhook", data)]);
    assert_eq!(matched.answers.len(), 1);
}

#[test]
fn a_question_without_options_is_answered_by_a_new_row_or_in_its_own() {
    let mut wait = plain("human_input");
    wait.request = json!({ "message": "Which colour?" }).as_object().cloned();
    let waits = [open("q", 1, 10, &wait)];
    let request = row(1, 10, "human_input", json!({ "message": "Which colour?" }));
    assert_eq!(
        match_signals(&waits, std::slice::from_ref(&request)),
        Matched::default()
    );

    let answer = row(2, 11, "human_input", json!({ "response": "green" }));
    let matched = match_signals(&waits, &[request, answer]);
    assert_eq!(decisions(&matched), [(0, None)]);
    assert_eq!(matched.answers[0].consumed, [id(2), id(1)]);

    let own = row(
        1,
        10,
        "human_input",
        json!({ "message": "Which colour?", "response": "red" }),
    );
    let matched = match_signals(&waits, &[own]);
    assert_eq!(
        Value::Object(matched.answers[0].data.clone()),
        json!({ "response": "red" })
    );
}

#[test]
fn data_that_are_no_object_come_under_value_and_decide_nothing() {
    let wait = plain("webhook");
    for (data, expected) in [
        (Value::Null, json!({})),
        (json!([1, 2]), json!({ "value": [1, 2] })),
        (json!("{\"n\": 1}"), json!({ "n": 1 })),
        (json!("{"), json!({ "value": "{" })),
        (json!(5), json!({ "value": 5 })),
    ] {
        let matched = match_signals(
            &[open("w", 1, 10, &wait)],
            &[row(2, 11, "webhook", data.clone())],
        );
        assert_eq!(
            Value::Object(matched.answers[0].data.clone()),
            expected,
            "{data}"
        );
        let of_approval = of_one(&[row(2, 11, APPROVAL, data)]);
        assert_eq!(of_approval, Matched::default());
    }
}

#[test]
fn a_long_decision_is_cut_in_the_refusal() {
    let refusal = read(json!({ "decision": "ä".repeat(100_000) }), &["a"]).unwrap_err();
    assert!(refusal.len() < 1_000, "{} bytes", refusal.len());
}

proptest! {
    /// No row is dealt with twice, no wait is answered twice, no request is taken for an answer; and nothing panics.
    #[test]
    fn any_rows_are_matched_in_good_order(
        rows in prop::collection::vec((any_json::value(), 0..6_i64, 0..4_usize, any::<bool>(), 0..3_usize), 0..12),
        since in prop::collection::vec(0..6_i64, 0..4),
    ) {
        let kinds = ["human_approval", "approval_response", "webhook", "human_input"];
        let waits_for = [approval("a"), approval("b"), plain("webhook"), plain("human_input")];
        let waits: Vec<_> = since
            .iter()
            .enumerate()
            .map(|(index, since)| open(["a", "b", "w", "q"][index], index as u128 + 1, *since, &waits_for[index]))
            .collect();
        let mut all: Vec<SignalRow> = waits
            .iter()
            .map(|open| row(open.request_id.as_u128(), 0, &open.wait.signal_type, Value::Object(open.wait.request.clone().unwrap_or_default())))
            .collect();
        for (number, (data, second, kind, is_processed, shape)) in rows.into_iter().enumerate() {
            let data = match shape {
                0 => data,
                1 => json!({ "decision": data, "node_id": "a" }),
                _ => json!({ "approved": true, "signal_id": id(1), "message": data }),
            };
            let row = row(100 + number as u128, second, kinds[kind], data);
            all.push(if is_processed { processed(row) } else { row });
        }
        let matched = match_signals(&waits, &all);
        let mut seen = HashSet::new();
        let mut answered = HashSet::new();
        for answer in &matched.answers {
            prop_assert!(answered.insert(answer.wait));
            prop_assert!(answer.consumed[0].as_u128() >= 100, "a request is no answer");
            let open = &waits[answer.wait];
            prop_assert_eq!(answer.decision.is_some(), !open.wait.options.is_empty());
            for consumed in &answer.consumed {
                prop_assert!(seen.insert(*consumed));
            }
        }
        for consumed in matched.late.iter().copied().chain(matched.refusals.iter().filter_map(|refusal| refusal.consumed)) {
            prop_assert!(seen.insert(consumed));
            prop_assert!(all.iter().any(|row| row.id == consumed && !row.is_processed));
        }
        prop_assert_eq!(match_signals(&waits, &all), matched);
    }
}
