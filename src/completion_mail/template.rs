//! From a template of the platform, in Jinja, to subject, text and HTML.
//!
//! What is unknown in a template is empty, as in Jinja. In HTML, values are escaped: an error message may hold markup.
//! A template runs with bounded steps.

use minijinja::Environment;
use serde_json::Value;

/// Steps of one rendering; a mail takes some hundreds.
const STEPS: u64 = 100_000;

/// What a template may name.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) user_name: String,
    pub(super) workflow_name: String,
    pub(super) execution_id: String,
    pub(super) duration: Option<String>,
    pub(super) execution_url: String,
    pub(super) error_message: Option<String>,
    pub(super) project_name: String,
}

impl Words {
    fn to_context(&self) -> minijinja::Value {
        let always = [
            ("user_name", &self.user_name),
            ("workflow_name", &self.workflow_name),
            ("execution_id", &self.execution_id),
            ("execution_url", &self.execution_url),
            ("project_name", &self.project_name),
        ];
        let sometimes = [
            ("duration", self.duration.as_ref()),
            ("error_message", self.error_message.as_ref()),
        ];
        let sometimes = sometimes
            .into_iter()
            .filter_map(|(name, word)| Some((name, word?)));
        let words = always.into_iter().chain(sometimes);
        minijinja::Value::from_pairs(words.map(|(name, word)| (name, word.as_str())))
    }
}

/// A mail without its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

impl Letter {
    /// Renders the template, a JSON object of its columns. The error is for the log.
    pub(super) fn write(slug: &str, template: &Value, words: &Words) -> Result<Self, String> {
        let column = |name: &str| {
            template
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.trim().is_empty())
        };
        let rendered = |name: &str, ending: &str| {
            let source = column(name);
            source
                .map(|source| render(source, ending, words))
                .transpose()
                .map_err(|error| {
                    format!("{name} of the mail template {slug:?} is wrong: {error:#}")
                })
        };
        let text = rendered("text_content", "txt")?;
        let html = rendered("html_content", "html")?;
        if text.is_none() && html.is_none() {
            return Err(format!(
                "the mail template {slug:?} has neither a text_content nor an html_content that is a text"
            ));
        }
        let subject = rendered("subject", "txt")?.unwrap_or_else(|| {
            let how = if words.error_message.is_some() {
                "failed"
            } else {
                "completed"
            };
            format!("Workflow {how}: {}", words.workflow_name)
        });
        Ok(Self {
            subject,
            text,
            html,
        })
    }
}

fn render(source: &str, ending: &str, words: &Words) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(STEPS));
    // The ending of the name decides on escaping.
    environment.render_named_str(&format!("mail.{ending}"), source, words.to_context())
}

/// A length of time for people: `3.2 seconds`, `2 min 5 s`, `1 h 0 min 3 s`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.1} seconds", seconds.max(0.0));
    }
    let whole = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let (hours, minutes, rest) = (whole / 3_600, whole % 3_600 / 60, whole % 60);
    if hours == 0 {
        format!("{minutes} min {rest} s")
    } else {
        format!("{hours} h {minutes} min {rest} s")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words() -> Words {
        Words {
            user_name: "Ann".to_owned(),
            workflow_name: "Nightly <1>".to_owned(),
            execution_id: "0-1".to_owned(),
            duration: Some("3.2 seconds".to_owned()),
            execution_url: "https://x/workflows?execution_id=0-1".to_owned(),
            error_message: Some("<script>".to_owned()),
            project_name: "P".to_owned(),
        }
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let template = json!({
            "subject": "{{ project_name }}: {{ workflow_name }}",
            "html_content": "<p>{{ error_message }}{% if missing %}x{% endif %}{{ nothing }}</p>",
            "text_content": "{{ user_name | upper }}: {{ error_message }}"
        });
        assert_eq!(
            Letter::write("s", &template, &words()).unwrap(),
            Letter {
                subject: "P: Nightly <1>".to_owned(),
                text: Some("ANN: <script>".to_owned()),
                html: Some("<p>&lt;script&gt;</p>".to_owned()),
            }
        );
    }

    #[test]
    fn a_template_without_a_subject_gets_one() {
        let letter = Letter::write("s", &json!({"text_content": "x"}), &words()).unwrap();
        assert_eq!(letter.subject, "Workflow failed: Nightly <1>");
        assert_eq!(letter.html, None);
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (template, expected) in [
            (
                json!({"html_content": {"a": 1}}),
                "neither a text_content nor an html_content",
            ),
            (
                json!({"text_content": "{{ a"}),
                "text_content of the mail template \"s\" is wrong: ",
            ),
            (
                json!({"text_content": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"}),
                "fuel",
            ),
        ] {
            let error = Letter::write("s", &template, &words()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(duration(3.21), "3.2 seconds");
        assert_eq!(duration(125.9), "2 min 5 s");
        assert_eq!(duration(3_603.0), "1 h 0 min 3 s");
        assert_eq!(duration(-1.0), "0.0 seconds");
    }
}
