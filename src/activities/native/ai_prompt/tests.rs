use std::time::Duration;

use serde_json::json;

use super::super::testing::{context, done, node, run};
use super::*;
use crate::activities::FailureKind;
use crate::activities::outgoing::testing::{Request, answer, serve, serve_never};
use crate::config::OutgoingConfig;

/// An activity whose four providers are at `url`.
fn activity(url: &str) -> AiPrompt {
    let mut config = OutgoingConfig::default();
    let providers = &mut config.providers;
    for (provider, key) in [
        (&mut providers.openai, "sk-openai"),
        (&mut providers.anthropic, "sk-ant"),
        (&mut providers.google, "g-key"),
        (&mut providers.cohere, "co-key"),
    ] {
        provider.base_url = url.to_owned();
        provider.key = Some(key.into());
    }
    AiPrompt {
        outgoing: Outgoing::new(config).unwrap(),
    }
}

fn openai(message: &Value, finish_reason: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    })
}

fn said(text: &str) -> Value {
    openai(
        &json!({"role": "assistant", "content": text, "refusal": null}),
        "stop",
    )
}

fn claude(text: &str, stop_reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": text}], "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 3}
    })
}

fn ok(body: &Value) -> String {
    answer(
        "200 OK\r\nContent-Type: application/json",
        &body.to_string(),
    )
}

/// Asks servers that give these answers; what came of it, and the requests.
async fn ask(config: Value, answers: Vec<String>) -> (Result<Outcome, Failure>, Vec<Request>) {
    let (url, requests) = serve(answers).await;
    let result = run(&activity(&url), config, &context(json!({}))).await;
    (result, requests.await.unwrap())
}

async fn ask_once(config: Value, answer: String) -> Result<Outcome, Failure> {
    ask(config, vec![answer]).await.0
}

#[tokio::test]
async fn openai_is_asked_and_its_answer_told() {
    let config =
        json!({"prompt": "Hi", "system_prompt": "Be brief.", "temperature": 0, "max_tokens": "50"});
    let (result, requests) = ask(config, vec![ok(&said("Hello"))]).await;
    assert_eq!(
        done(result),
        (
            json!({
                "content": "Hello", "model": "gpt-4o-mini-2024-07-18", "provider": "openai", "tokens_used": 21,
                "usage": {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21},
                "finish_reason": "stop", "id": "chatcmpl-1"
            }),
            None
        )
    );
    let request = &requests[0];
    assert!(request.head.starts_with("POST /chat/completions "));
    assert_eq!(
        request.header("authorization").as_deref(),
        Some("Bearer sk-openai")
    );
    assert_eq!(
        request.header("idempotency-key").as_deref(),
        Some("00000000:n1:1")
    );
    assert_eq!(
        request.json(),
        json!({
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "max_tokens": 50, "temperature": 0.0
        })
    );
}

#[tokio::test]
async fn the_defaults_are_those_of_old() {
    let (_, requests) = ask(
        json!({"prompt": {"a": 1}, "model": "gpt-4"}),
        vec![ok(&said("x"))],
    )
    .await;
    assert_eq!(
        requests[0].json(),
        json!({
            "model": "gpt-4", "messages": [{"role": "user", "content": "{\"a\":1}"}], "max_tokens": 1000,
            "temperature": 0.7
        })
    );
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_form() {
    let config = json!({
        "model": "claude-3-sonnet", "prompt": "And?", "system_prompt": "A",
        "messages": [
            {"role": "system", "content": "B"}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"}
        ]
    });
    let (result, requests) = ask(config, vec![ok(&claude("So.", "end_turn"))]).await;
    assert_eq!(
        done(result).0,
        json!({
            "content": "So.", "model": "claude-sonnet-4-6", "requested_model": "claude-3-sonnet",
            "provider": "anthropic", "tokens_used": 18,
            "usage": {"input_tokens": 15, "output_tokens": 3, "total_tokens": 18},
            "finish_reason": "end_turn", "id": "msg_1"
        })
    );
    let request = &requests[0];
    assert_eq!(request.path(), "/v1/messages");
    assert_eq!(request.header("x-api-key").as_deref(), Some("sk-ant"));
    assert_eq!(
        request.header("anthropic-version").as_deref(),
        Some("2023-06-01")
    );
    assert_eq!(request.header("authorization"), None);
    assert_eq!(
        request.json(),
        json!({
            "model": "claude-sonnet-4-6", "max_tokens": 1000, "system": "A\n\nB",
            "messages": [
                {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "And?"}
            ],
            "temperature": 0.7
        })
    );
}

#[tokio::test]
async fn each_provider_gets_its_own_key() {
    for (model, key) in [
        ("gemini-2.5-flash", "Bearer g-key"),
        ("command-r-plus", "Bearer co-key"),
        ("llama-3", "Bearer sk-openai"),
    ] {
        let (_, requests) = ask(
            json!({"prompt": "Hi", "model": model}),
            vec![ok(&said("x"))],
        )
        .await;
        assert_eq!(
            requests[0].header("authorization").as_deref(),
            Some(key),
            "{model}"
        );
        assert_eq!(requests[0].json()["model"], model);
    }
}

#[tokio::test]
async fn a_base_url_of_the_node_does_not_get_the_platform_s_key() {
    let (url, requests) = serve(vec![ok(&said("x")), ok(&said("x"))]).await;
    let activity = activity("http://127.0.0.1:1");
    for config in [
        json!({"prompt": "Hi", "base_url": format!("{url}/v1/")}),
        json!({"prompt": "Hi", "base_url": format!("{url}/v1"), "api_key": "mine"}),
    ] {
        done(run(&activity, config, &context(json!({}))).await);
    }
    let requests = requests.await.unwrap();
    assert_eq!(requests[0].path(), "/v1/chat/completions");
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(
        requests[1].header("authorization").as_deref(),
        Some("Bearer mine")
    );
}

#[tokio::test]
async fn reasoning_models_get_their_own_parameters() {
    let config = json!({"prompt": "Hi", "model": "gpt-5-mini", "temperature": 0.2});
    let (result, requests) = ask(config, vec![ok(&said("x"))]).await;
    let body = requests[0].json();
    assert_eq!(body["max_completion_tokens"], 1000);
    assert!(
        body.get("max_tokens").is_none() && body.get("temperature").is_none(),
        "{body}"
    );
    assert_eq!(
        done(result).0["warnings"],
        json!(["temperature 0.2 has no effect: gpt-5-mini takes none"])
    );
    let (result, _) = ask(json!({"prompt": "Hi", "model": "o3"}), vec![ok(&said("x"))]).await;
    assert_eq!(done(result).0.get("warnings"), None, "nobody has set it");
}

#[tokio::test]
async fn a_refused_parameter_is_left_out_in_another_request() {
    let refusal = |message: &str| {
        let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
        answer("400 Bad Request", &body.to_string())
    };
    let answers = vec![
        refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        refusal(
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
        ),
        ok(&said("x")),
    ];
    let (result, requests) = ask(json!({"prompt": "Hi", "model": "new-model"}), answers).await;
    assert_eq!(done(result).0["content"], "x");
    let bodies: Vec<Value> = requests.iter().map(Request::json).collect();
    assert_eq!(bodies[1]["max_completion_tokens"], 1000);
    assert_eq!(bodies[1].get("max_tokens"), None);
    assert_eq!(bodies[2].get("temperature"), None);

    let answers = vec![
        refusal("`temperature` is deprecated for this model."),
        ok(&claude("y", "end_turn")),
    ];
    let (result, requests) = ask(json!({"prompt": "Hi", "model": "claude-next"}), answers).await;
    assert_eq!(done(result).0["content"], "y");
    assert_eq!(requests[1].json().get("temperature"), None);

    let stubborn = refusal("Unsupported value: 'temperature'");
    let answers = vec![stubborn.clone(), stubborn];
    let (result, _) = ask(json!({"prompt": "Hi"}), answers).await;
    assert_eq!(result.unwrap_err().kind, FailureKind::Permanent);
}

#[tokio::test]
async fn rate_limits_and_overload_are_retryable_with_the_wait() {
    let limited = r#"{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}"#;
    let overloaded =
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    for (model, head, body, wait, message) in [
        (
            "gpt-4",
            "429 Too Many Requests\r\nRetry-After: 20",
            limited,
            Some(20.0),
            "openai: HTTP 429: Rate limit reached",
        ),
        (
            "gpt-4",
            "429 Too Many Requests\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m2.5s",
            limited,
            Some(62.5),
            "openai: HTTP 429: Rate limit reached",
        ),
        (
            "gpt-4",
            "503 Service Unavailable",
            "",
            None,
            "openai: HTTP 503: Service Unavailable",
        ),
        (
            "claude-3-opus",
            "529 Overloaded",
            overloaded,
            None,
            "anthropic: HTTP 529: Overloaded",
        ),
    ] {
        let config = json!({"prompt": "Hi", "model": model});
        let failure = ask_once(config, answer(head, body)).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.error_type),
            (FailureKind::Retryable, "HTTPError".into())
        );
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs_f64));
        assert_eq!(failure.message, message);
    }
}

#[tokio::test]
async fn what_no_wait_mends_is_permanent_and_hides_the_key() {
    for (head, body, expected) in [
        (
            "401 Unauthorized",
            json!({"error": {"message": "Incorrect API key provided: sk-openai."}}),
            "openai: HTTP 401: Incorrect API key provided: ***.",
        ),
        (
            "404 Not Found",
            json!({"error": {"message": "The model does not exist", "code": "model_not_found"}}),
            "openai: HTTP 404: The model does not exist",
        ),
        (
            "429 Too Many Requests",
            json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
            "openai: HTTP 429: You exceeded your current quota",
        ),
        (
            "400 Bad Request",
            json!([{"error": {"code": 400, "message": "API key not valid", "status": "INVALID"}}]),
            "openai: HTTP 400: API key not valid",
        ),
    ] {
        let failure = ask_once(json!({"prompt": "Hi"}), answer(head, &body.to_string()))
            .await
            .unwrap_err();
        assert_eq!(failure, Failure::permanent(expected).of_type("HTTPError"));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_retryable() {
    for (body, expected) in [
        (
            "{\"choices\": [",
            "openai: the answer is not JSON (EOF while parsing a list at line 1 column 13): {\"choices\": [",
        ),
        (
            "{\"choices\": []}",
            "openai: the answer has no choices: {\"choices\": []}",
        ),
        (
            "{\"choices\": [{}]}",
            "openai: the answer's choice has no message: {\"choices\": [{}]}",
        ),
    ] {
        let failure = ask_once(json!({"prompt": "Hi"}), answer("200 OK", body))
            .await
            .unwrap_err();
        assert_eq!(failure, Failure::retryable(expected).of_type("HTTPError"));
    }
    let failure = ask_once(
        json!({"prompt": "Hi", "model": "claude-x"}),
        answer("200 OK", "{}"),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.message, "anthropic: the answer has no content: {}");
}

#[tokio::test]
async fn a_refusal_of_the_model_is_a_failure_with_its_words() {
    let refusal = openai(
        &json!({"role": "assistant", "content": null, "refusal": "I can't help."}),
        "stop",
    );
    let failure = ask_once(json!({"prompt": "Hi"}), ok(&refusal))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Permanent, "ActivityError".into())
    );
    assert_eq!(
        failure.message,
        "openai: the model refuses to answer: I can't help."
    );
    assert_eq!(failure.output["tokens_used"], 21);

    let filtered = openai(
        &json!({"role": "assistant", "content": null}),
        "content_filter",
    );
    let failure = ask_once(json!({"prompt": "Hi"}), ok(&filtered))
        .await
        .unwrap_err();
    assert_eq!(
        failure.message,
        "openai: the model refuses to answer: the provider's content filter"
    );

    let config = json!({"prompt": "Hi", "model": "claude-x"});
    let failure = ask_once(config, ok(&claude("No.", "refusal")))
        .await
        .unwrap_err();
    assert_eq!(
        failure.message,
        "anthropic: the model refuses to answer: No."
    );
}

#[tokio::test]
async fn an_answer_without_text_says_why() {
    let thinking = openai(&json!({"role": "assistant", "content": ""}), "length");
    let failure = ask_once(json!({"prompt": "Hi", "max_tokens": 9}), ok(&thinking))
        .await
        .unwrap_err();
    assert!(
        failure
            .message
            .starts_with("openai: the model has used up max_tokens (9)"),
        "{}",
        failure.message
    );
    let nothing = openai(&json!({"role": "assistant", "content": null}), "tool_calls");
    let failure = ask_once(json!({"prompt": "Hi"}), ok(&nothing))
        .await
        .unwrap_err();
    assert_eq!(
        failure.message,
        "openai: the answer has no text (finish_reason: tool_calls)"
    );
}

#[tokio::test]
async fn a_content_of_parts_is_joined() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "image", "x": 1}, {"type": "text", "text": "b"}]);
    let reply = openai(&json!({"role": "assistant", "content": parts}), "stop");
    let (output, _) = done(ask_once(json!({"prompt": "Hi"}), ok(&reply)).await);
    assert_eq!(output["content"], "ab");
}

#[tokio::test]
async fn json_is_asked_for_and_parsed() {
    let (result, requests) = ask(
        json!({"prompt": "Hi", "json": true}),
        vec![ok(&said("{\"a\": 1}"))],
    )
    .await;
    assert_eq!(done(result).0["json"], json!({"a": 1}));
    let body = requests[0].json();
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "Answer with JSON and nothing else."})
    );
    let config = json!({"prompt": "Hi", "json": "true", "model": "claude-x"});
    let (result, requests) = ask(config, vec![ok(&claude("```json\n[1]\n```", "end_turn"))]).await;
    assert_eq!(done(result).0["json"], json!([1]));
    assert_eq!(
        requests[0].json()["system"],
        "Answer with JSON and nothing else."
    );
    let failure = ask_once(json!({"prompt": "JSON?", "json": true}), ok(&said("sure!")))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    assert!(
        failure
            .message
            .starts_with("openai: the model's answer is not JSON"),
        "{}",
        failure.message
    );
    assert_eq!(failure.output["content"], "sure!");
}

#[tokio::test]
async fn dropping_the_attempt_cancels_the_call() {
    let (url, gone) = serve_never().await;
    let activity = activity(&url);
    let (node, context) = (
        node("ai_prompt", json!({"prompt": "Hi"})),
        context(json!({})),
    );
    let limited = tokio::time::timeout(Duration::from_millis(200), activity.run(&node, &context));
    assert!(limited.await.is_err());
    gone.await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let moved = answer(
        "307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/",
        "",
    );
    let failure = ask_once(json!({"prompt": "Hi", "model": "claude-x"}), moved)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.message.contains("redirect"), "{}", failure.message);
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let bare = AiPrompt {
        outgoing: Outgoing::new(OutgoingConfig::default()).unwrap(),
    };
    for (config, expected) in [
        (
            json!({"prompt": "Hi"}),
            "model \"gpt-4o-mini\" needs the worker's variable OPENAI_API_KEY, which is not set",
        ),
        (
            json!({"prompt": "Hi", "model": "claude-3-opus"}),
            "model \"claude-3-opus\" needs the worker's variable ANTHROPIC_API_KEY, which is not set",
        ),
        (
            json!({"prompt": "Hi", "model": "gemini-x"}),
            "model \"gemini-x\" needs the worker's variable GOOGLE_API_KEY, which is not set",
        ),
        (
            json!({"prompt": "Hi", "provider": "cohere"}),
            "model \"gpt-4o-mini\" needs the worker's variable COHERE_API_KEY, which is not set",
        ),
        (
            json!({"prompt": "Hi", "api_key": "k"}),
            "api_key is for base_url only, which is not set; the platform's key is OPENAI_API_KEY",
        ),
    ] {
        let failure = run(&bare, config, &context(json!({}))).await.unwrap_err();
        assert_eq!(failure, Failure::permanent(expected));
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_permanent_and_names_key_and_value() {
    let activity = activity("http://127.0.0.1:1");
    for (config, expected) in [
        (
            json!({}),
            "prompt is not set; it must be the text that the model is asked",
        ),
        (
            json!({"prompt": "x", "model": 5}),
            "model is 5; it must be a text",
        ),
        (
            json!({"prompt": "x", "provider": "acme"}),
            "provider is \"acme\"; it must be one of openai, anthropic, google, cohere",
        ),
        (
            json!({"prompt": "x", "temperature": 2.1}),
            "temperature is 2.1; it must be a number from 0 to 2",
        ),
        (
            json!({"prompt": "x", "temperature": 1.5, "model": "claude-x"}),
            "temperature is 1.5; it must be a number from 0 to 1",
        ),
        (
            json!({"prompt": "x", "max_tokens": 0}),
            "max_tokens is 0; it must be a whole number from 1 to 1000000",
        ),
        (
            json!({"prompt": "x", "max_tokens": 1.5}),
            "max_tokens is 1.5; it must be a whole number from 1 to 1000000",
        ),
        (
            json!({"prompt": "x", "json": "maybe"}),
            "json is \"maybe\"; it must be true or false",
        ),
        (
            json!({"prompt": "x", "messages": {}}),
            "messages is {}; it must be a list",
        ),
        (
            json!({"messages": [{"role": "boss", "content": "x"}]}),
            "messages[0].role is \"boss\"; it must be one of system, user, assistant",
        ),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            "messages[0].content is 1; it must be a text, or (user, assistant) a list of parts",
        ),
        (
            json!({"prompt": "x", "base_url": "example.com"}),
            "base_url is \"example.com\"; it must be an http or https URL, such as https://example.com/v1",
        ),
        (
            json!({"prompt": "x", "model": "claude-x", "response_format": {"type": "json_object"}}),
            "response_format is not known to Anthropic's API; set json to true instead",
        ),
    ] {
        let failure = run(&activity, config, &context(json!({})))
            .await
            .unwrap_err();
        assert_eq!(failure, Failure::permanent(expected));
    }
}
