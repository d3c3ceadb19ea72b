//! Fills the templates in a node's configuration, before its activity sees it.
//!
//! Every text under every key is read, at any depth, but the names of keys and what the node type's [`Spec`] calls an
//! expression or code. A text that is one hole and nothing else becomes the hole's value, of whatever type; in a longer
//! text a value is written as text: a string as it is, anything else as JSON. Values come from what the node's
//! expressions see. A configuration without templates is passed on as it is, without a copy.
//!
//! What a template means is in [`crate::expr::template`].

use std::sync::Arc;

use serde_json::Value;

use super::evaluator::{Evaluator, scope};
use crate::activities::{Context, Failure, Node, Spec};
use crate::expr::template::{Content, Hole, Piece, Template, has_template};
use crate::expr::{ExprError, Language, Scope, json_fits};

/// What templates may put into one configuration: as much as an answer of `http_request` may have. Without a bound,
/// a short text that names all of the data many times would fill the memory.
const MAX_BYTES: usize = 10 << 20;

/// The node with its templates filled.
///
/// # Errors
/// A permanent `ExpressionError` that names key and template if one of them cannot be read, names no value or fails.
pub async fn filled(
    evaluator: &Evaluator,
    spec: &Spec,
    mut node: Node,
    context: &Context,
) -> Result<Node, Failure> {
    let is_due = |(key, value): (&String, &Value)| !spec.is_program(key) && mentions(value);
    if !node.config.iter().any(is_due) {
        return Ok(node);
    }
    let mut filler = Filler {
        evaluator,
        scope: scope(&node, context),
        room: MAX_BYTES,
    };
    let mut places = Vec::new();
    let config = Arc::make_mut(&mut node.config);
    for (key, value) in config.iter_mut().filter(|(key, _)| !spec.is_program(key)) {
        find(value, key.clone(), &mut places);
    }
    for (key, place) in places {
        let value = match &*place {
            Value::String(text) => filler.fill(&key, text).await?,
            _ => continue,
        };
        *place = value;
    }
    Ok(node)
}

/// Whether a value holds a template.
fn mentions(value: &Value) -> bool {
    match value {
        Value::String(text) => has_template(text),
        Value::Array(items) => items.iter().any(mentions),
        Value::Object(entries) => entries.values().any(mentions),
        _ => false,
    }
}

/// All texts with templates, and where in the configuration they stand.
fn find<'c>(value: &'c mut Value, key: String, places: &mut Vec<(String, &'c mut Value)>) {
    match value {
        Value::String(text) if has_template(text) => places.push((key, value)),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                find(item, format!("{key}[{index}]"), places);
            }
        }
        Value::Object(entries) => {
            for (name, entry) in entries.iter_mut() {
                find(entry, format!("{key}.{name}"), places);
            }
        }
        _ => {}
    }
}

struct Filler<'e> {
    evaluator: &'e Evaluator,
    scope: Scope,
    /// How many bytes may still be filled in.
    room: usize,
}

impl Filler<'_> {
    /// What the text under a key becomes.
    async fn fill(&mut self, key: &str, text: &str) -> Result<Value, Failure> {
        let template = Template::parse(text).map_err(|error| failure(key, &error))?;
        if let [Piece::Hole(hole)] = template.pieces.as_slice() {
            return self.value(key, hole).await;
        }
        let mut filled = String::with_capacity(text.len());
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Hole(hole) => match self.value(key, hole).await? {
                    Value::String(text) => filled.push_str(&text),
                    other => filled.push_str(&other.to_string()),
                },
            }
        }
        Ok(Value::String(filled))
    }

    async fn value(&mut self, key: &str, hole: &Hole<'_>) -> Result<Value, Failure> {
        let content = hole.content(&self.scope);
        let value = match content.map_err(|error| failure(key, &error))? {
            Content::Value(value) => {
                // Before it is copied.
                take_room(&mut self.room, key, &value)?;
                value.into_owned()
            }
            Content::Expression(source) => {
                let (language, scope) = (Language::JavaScript, self.scope.clone());
                let value = self
                    .evaluator
                    .evaluate(key, language, source, scope)
                    .await?;
                take_room(&mut self.room, key, &value)?;
                value
            }
        };
        Ok(value)
    }
}

fn take_room(room: &mut usize, key: &str, value: &Value) -> Result<(), Failure> {
    if json_fits(value, room) {
        return Ok(());
    }
    let message =
        format!("{key}: the templates of the configuration come to more than {MAX_BYTES} bytes");
    Err(Failure::permanent(message).of_type("ExpressionError"))
}

fn failure(key: &str, error: &ExprError) -> Failure {
    Failure::permanent(format!("{key}: {error}")).of_type("ExpressionError")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{context, evaluator, node};
    use super::*;
    use crate::activities::spec::{Holds, Key, Timeout};

    static SPEC: Spec = Spec {
        about: "A test.",
        keys: &[
            Key::new("url", Holds::Text, "text"),
            Key::new("expression", Holds::Expression, "an expression").or(&["condition"]),
            Key::new("code", Holds::Code, "a program"),
        ],
        branches: &[],
        timeout: Timeout::Node,
        acts: false,
    };

    fn data() -> Value {
        json!({
            "name": "Ann", "n": 5, "none": null, "user": {"tags": ["x", "y"], "id": 7},
            "http_request-17_output": {"status_code": 200, "json": {"ids": [1, 2]}},
            "evil": "{{ name }} ${n} \\{{ \"'\n", "big": "x".repeat(1 << 20)
        })
    }

    async fn fill_in(config: Value, context: &Context) -> Result<Value, Failure> {
        let node = filled(&evaluator(), &SPEC, node("test", config), context).await?;
        Ok(Value::Object((*node.config).clone()))
    }

    async fn fill(config: Value) -> Result<Value, Failure> {
        fill_in(config, &context(data())).await
    }

    #[tokio::test]
    async fn texts_at_any_depth_are_filled_and_a_lone_hole_keeps_its_type() {
        let config = json!({
            "url": "https://x/{{ user.id }}?q={{ encodeURIComponent('a b') }}",
            "headers": {"X-Name": "${name}", "{{ name }}": "key"},
            "body": {
                "n": "{{ n }}", "user": "{{ input.user }}", "none": "{{ none }}", "list": ["{{ n * 2 }}", "n={{ n }}", 3],
                "text": "{{ user }} {{ none }} {{ n > 3 }}", "ids": "{{ http_request-17.output.json.ids }}",
                "padded": " {{ n }}"
            }
        });
        let expected = json!({
            "url": "https://x/7?q=a%20b",
            "headers": {"X-Name": "Ann", "{{ name }}": "key"},
            "body": {
                "n": 5, "user": {"tags": ["x", "y"], "id": 7}, "none": null, "list": [10, "n=5", 3],
                "text": "{\"tags\":[\"x\",\"y\"],\"id\":7} null true", "ids": [1, 2], "padded": " 5"
            }
        });
        assert_eq!(fill(config).await, Ok(expected));
    }

    #[tokio::test]
    async fn expressions_and_code_are_left_alone_under_each_of_their_names() {
        let config = json!({
            "expression": "`${name}` + '{{ gone }}'", "condition": "${gone} > 1", "code": "echo ${HOME} {{ gone }}"
        });
        assert_eq!(fill(config.clone()).await, Ok(config));
    }

    #[tokio::test]
    async fn a_configuration_without_templates_is_not_copied() {
        for config in [
            json!({}),
            json!({"url": "https://x/{}", "n": [1], "code": "${x}"}),
        ] {
            let node = node("test", config);
            let before = Arc::clone(&node.config);
            let node = filled(&evaluator(), &SPEC, node, &context(data()))
                .await
                .unwrap();
            assert!(Arc::ptr_eq(&before, &node.config));
        }
    }

    #[tokio::test]
    async fn the_graph_keeps_its_templates_for_the_next_visit() {
        let node = node("test", json!({"url": "{{ n }}"}));
        let before = Arc::clone(&node.config);
        let node = filled(&evaluator(), &SPEC, node, &context(data()))
            .await
            .unwrap();
        assert_eq!(
            (&before["url"], &node.config["url"]),
            (&json!("{{ n }}"), &json!(5))
        );
    }

    #[tokio::test]
    async fn what_is_in_a_value_is_never_read_as_a_template() {
        let evil = data()["evil"].clone();
        let config = json!({
            "url": "{{ evil }}", "text": "<{{ evil }}>", "js": "{{ evil + '' }}", "plain": "{{ 'a' }}\\{{ n }}"
        });
        let filled = fill(config).await.unwrap();
        assert_eq!(filled["url"], evil);
        assert_eq!(filled["text"], format!("<{}>", evil.as_str().unwrap()));
        assert_eq!(filled["js"], evil);
        assert_eq!(filled["plain"], "a{{ n }}");
    }

    #[tokio::test]
    async fn variables_locals_and_personalization_are_there() {
        let mut context = context(data());
        context.variables = Arc::new(
            json!({"workflow": {"limit": 10}})
                .as_object()
                .unwrap()
                .clone(),
        );
        context.locals = Arc::new(vec![("item".to_owned(), json!({"n": 3}))]);
        let config = json!({
            "personalization": "http_request-17.json",
            "url": "{{ limit }}/{{ variables.limit }}/{{ item.n }}/{{ personalization.ids[1] }}"
        });
        assert_eq!(fill_in(config, &context).await.unwrap()["url"], "10/10/3/2");
    }

    #[tokio::test]
    async fn a_bad_template_is_named_with_its_key() {
        for (config, expected) in [
            (
                json!({"url": "https://x/{{ user.nmae }}"}),
                "url: {{ user.nmae }} names no value: user has no \"nmae\"; there is \"tags\", \"id\"",
            ),
            (
                json!({"body": {"a": ["", "${user.tags[2]}"]}}),
                "body.a[1]: ${user.tags[2]} names no value: user.tags has no \"2\"; it is a list of 2",
            ),
            (
                json!({"url": "{{ name"}),
                "url: \"{{ name\" has no closing }}; to write {{ itself, write \\{{",
            ),
            (
                json!({"url": "{{}}"}),
                "url: {{}} is empty; it must hold a path such as input.name",
            ),
            (
                json!({"url": "{{ nobody.call() }}"}),
                "url \"nobody.call()\": ReferenceError: nobody is not defined (at column 1)",
            ),
        ] {
            let failure = fill(config).await.unwrap_err();
            assert_eq!(
                failure,
                Failure::permanent(expected).of_type("ExpressionError")
            );
        }
    }

    #[tokio::test]
    async fn what_all_templates_come_to_is_bounded() {
        let bomb = "{{ big }}".repeat(1000);
        let failure = fill(json!({"url": bomb})).await.unwrap_err();
        assert_eq!(
            failure.message,
            "url: the templates of the configuration come to more than 10485760 bytes"
        );
        let places = vec!["{{ input }}"; 1000];
        let failure = fill(json!({"list": places})).await.unwrap_err();
        assert!(
            failure.message.starts_with("list[9]: "),
            "{}",
            failure.message
        );
    }
}
