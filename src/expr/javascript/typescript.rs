//! TypeScript → JavaScript, by oxc: types go, `enum`, `namespace` and parameter properties become what they mean.
//!
//! Nothing is checked but the syntax, as with each tool that only strips types. The parser recurses as deeply as the
//! program nests, so a hostile program can exhaust the stack: [`strip`] runs in a process that may be lost.

use std::path::Path;

use oxc_allocator::Allocator;
use oxc_ast::ast::{Program, Statement};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_diagnostics::Diagnostics;
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::SemanticBuilder;
use oxc_span::{GetSpan, SourceType};
use oxc_transformer::{TransformOptions, Transformer};
use serde::{Deserialize, Serialize};

use crate::expr::error::{ErrorKind, ExprError, Position, position_of};

/// What the printer leaves of a program whose imports were all types.
const EMPTY_EXPORT: &str = "export {};";

/// A program without types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripped {
    /// JavaScript.
    pub code: String,
    /// Which place of the user's text each place of `code` comes from, in order.
    places: Vec<(Position, Position)>,
}

impl Stripped {
    /// The place in the user's text that a place in `code` comes from.
    pub fn original(&self, place: Position) -> Position {
        let key = |position: Position| (position.line, position.column);
        let after = self
            .places
            .partition_point(|(generated, _)| key(*generated) <= key(place));
        after
            .checked_sub(1)
            .and_then(|index| self.places.get(index))
            .map_or(place, |(_, original)| *original)
    }
}

/// Strips the types of a program.
///
/// # Errors
/// What is wrong with its syntax, and where.
pub fn strip(source: &str) -> Result<Stripped, ExprError> {
    let allocator = Allocator::default();
    let options = ParseOptions {
        allow_return_outside_function: true,
        ..ParseOptions::default()
    };
    let parsed = Parser::new(&allocator, source, SourceType::ts())
        .with_options(options)
        .parse();
    check(source, &parsed.diagnostics)?;
    let mut program = parsed.program;
    let semantic = SemanticBuilder::new().with_enum_eval(true).build(&program);
    check(source, &semantic.diagnostics)?;
    let scoping = semantic.semantic.into_scoping();
    let transformed = Transformer::new(
        &allocator,
        Path::new("code.ts"),
        &TransformOptions::default(),
    )
    .build_with_scoping(scoping, &mut program);
    check(source, &transformed.diagnostics)?;
    check_modules(source, &program)?;
    let printed = Codegen::new()
        .with_options(CodegenOptions {
            source_map_path: Some("code.ts".into()),
            ..CodegenOptions::default()
        })
        .build(&program);
    let places = printed.map.iter().flat_map(|map| {
        map.get_tokens().map(|token| {
            let place = |line: u32, column: u32| Position {
                line: to_usize(line) + 1,
                column: to_usize(column) + 1,
            };
            (
                place(token.get_dst_line(), token.get_dst_col()),
                place(token.get_src_line(), token.get_src_col()),
            )
        })
    });
    let places = places.collect();
    let code = printed.code.trim_end();
    let code = code.strip_suffix(EMPTY_EXPORT).unwrap_or(code).to_owned();
    Ok(Stripped { code, places })
}

fn check(source: &str, found: &Diagnostics) -> Result<(), ExprError> {
    let Some(first) = found.errors().next() else {
        return Ok(());
    };
    let error = syntax(&first.message);
    Err(match first.labels.first() {
        Some(label) => error.at(position_of(source, to_usize(label.span().start))),
        None => error,
    })
}

/// There is nothing to import, and nobody who would import.
fn check_modules(source: &str, program: &Program<'_>) -> Result<(), ExprError> {
    let Some(statement) = program.body.iter().find(|statement| {
        let is_empty_export = matches!(
            statement,
            Statement::ExportNamedDeclaration(export)
                if export.specifiers.is_empty()
        );
        statement.is_module_declaration() && !is_empty_export
    }) else {
        return Ok(());
    };
    let error = syntax("import and export are not available in a program");
    Err(error.at(position_of(source, to_usize(statement.span().start))))
}

fn syntax(message: &str) -> ExprError {
    ExprError::new(ErrorKind::Syntax, format!("syntax error: {message}"), "")
}

/// Lossless where a `usize` has at least 32 bits.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_and_what_runs_stays() {
        let stripped = strip(
            "import type { Order } from './types';\n\
             enum Size { Small = 1, Large }\n\
             interface A { b: string }\n\
             const f = <T>(x: T): T => x as T;\n\
             class P { constructor(private readonly q: number) {} get(): number { return this.q! } }\n\
             return f<number>(Size.Large) + new P(3).get();",
        )
        .unwrap();
        assert!(!stripped.code.contains("interface"), "{}", stripped.code);
        assert!(!stripped.code.contains("export"), "{}", stripped.code);
        assert!(stripped.code.contains("this.q = q"), "{}", stripped.code);
    }

    #[test]
    fn a_place_is_one_of_the_users_text() {
        let source = "interface A {\n  b: string\n}\nconst a: A = { b: 'x' };\nmissing(a);";
        let stripped = strip(source).unwrap();
        let line = stripped
            .code
            .lines()
            .position(|line| line.starts_with("missing"))
            .unwrap()
            + 1;
        let place = stripped.original(Position { line, column: 1 });
        assert_eq!(place, Position { line: 5, column: 1 });
    }

    #[test]
    fn an_error_says_where() {
        for (source, message) in [
            (
                "let ok = 1;\nlet x: = 4;",
                "syntax error: Unexpected token (at line 2, column 8)",
            ),
            (
                "\nimport fs from 'fs';\nfs.read();",
                "syntax error: import and export are not available in a program (at line 2, column 1)",
            ),
            (
                "export const a = 1;",
                "syntax error: import and export are not available in a program (at column 1)",
            ),
        ] {
            assert_eq!(strip(source).unwrap_err().to_string(), message);
        }
    }
}
