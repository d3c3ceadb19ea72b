//! The page with plots: one HTML file with SVG in it, and nothing to load.

use std::fmt::Write;

use anyhow::anyhow;
use plotters::chart::SeriesLabelPosition;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoDrawingArea, IntoLogRange, LineSeries, Palette,
    Palette99, PathElement, SVGBackend, WHITE,
};

use crate::machine::Machine;
use crate::options::Soak;
use crate::report;
use crate::results::{Results, Row, Scenario};
use crate::scenarios::{drain, growth, latency, lookups, producers, soak};
use crate::{limits, targets::Target};

const SIZE: (u32, u32) = (760, 400);

/// What is drawn.
struct Plot {
    title: String,
    x: &'static str,
    y: &'static str,
    /// Whether the horizontal axis grows by factors.
    is_log: bool,
    series: Vec<(String, Vec<(f64, f64)>)>,
}

/// The page of the results.
pub(crate) fn page(
    machine: &Machine,
    results: &Results,
    targets: &[Target],
) -> anyhow::Result<String> {
    let tables = [
        ("Targets", report::targets(targets)),
        ("All figures", report::table(results)),
    ];
    html(
        "workflow-worker: benchmarks",
        machine,
        &plots(results),
        &tables,
    )
}

/// The page of the soak.
pub(crate) fn soak_page(
    machine: &Machine,
    results: &Results,
    plan: &Soak,
) -> anyhow::Result<String> {
    let plots: Vec<Plot> = soak::ALL
        .iter()
        .map(|scenario| Plot {
            title: scenario.title.to_owned(),
            x: "minutes",
            y: scenario.unit.text(),
            is_log: false,
            series: courses(results, scenario),
        })
        .filter(|plot| !plot.series.is_empty())
        .collect();
    let tables = [("All figures", report::soak(results, plan))];
    html("workflow-worker: soak", machine, &plots, &tables)
}

/// By table; those that stay below a fiftieth of the largest are in the table of figures only.
fn courses(results: &Results, scenario: &Scenario) -> Vec<(String, Vec<(f64, f64)>)> {
    let most = |row: &Row| row.values().into_iter().fold(0.0, f64::max);
    let largest = results.of(scenario.key).map(most).fold(0.0, f64::max);
    results
        .of(scenario.key)
        .filter(|row| most(row) >= largest / 50.0)
        .map(|row| (row.finding.setting.clone(), row.finding.course.clone()))
        .collect()
}

fn html(
    title: &str,
    machine: &Machine,
    plots: &[Plot],
    tables: &[(&str, String)],
) -> anyhow::Result<String> {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}\
         pre{{overflow-x:auto;font-size:12px}}svg{{max-width:100%;height:auto}}</style></head><body>\n\
         <h1>{title}</h1>\n",
    );
    let plain = |text: &str| escape(&text.replace(['*', '`'], ""));
    // Writing to a String cannot fail.
    writeln!(text, "<p>{}</p>", plain(&report::head(machine))).ok();
    for plot in plots {
        writeln!(text, "<figure>{}</figure>", draw(plot)?).ok();
    }
    for (title, table) in tables {
        writeln!(text, "<h2>{title}</h2>\n<pre>{}</pre>", escape(table)).ok();
    }
    text.push_str("</body></html>\n");
    Ok(text)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Those that have something to show.
fn plots(results: &Results) -> Vec<Plot> {
    let mut plots = vec![quantiles(results)];
    plots.extend(load(results));
    plots.extend(long(results));
    for plot in &mut plots {
        plot.series.retain(|(_, points)| !points.is_empty());
    }
    plots.retain(|plot| !plot.series.is_empty());
    plots
}

fn load(results: &Results) -> [Plot; 2] {
    let drains = [&drain::ONE, &drain::FIVE].into_iter().map(|scenario| {
        let of = |setting: &str| setting.starts_with("1 worker, ");
        (scenario.title.to_owned(), points(results, scenario.key, of))
    });
    let producers = producers::KINDS.iter().map(|kind| {
        let wanted = format!("{kind}, ");
        let of = |setting: &str| setting.starts_with(&wanted);
        (
            (*kind).to_owned(),
            points(results, producers::INSERTS.key, of),
        )
    });
    [
        Plot {
            title: "Drain with one worker".to_owned(),
            x: "concurrency",
            y: "steps per second",
            is_log: true,
            series: drains.collect(),
        },
        Plot {
            title: producers::INSERTS.title.to_owned(),
            x: "clients",
            y: "rows per second",
            is_log: true,
            series: producers.collect(),
        },
    ]
}

fn long(results: &Results) -> [Plot; 3] {
    let all = |scenario: &Scenario| {
        let points = points(results, scenario.key, |_| true);
        (scenario.title.to_owned(), points)
    };
    let claims = lookups::BACKGROUNDS.iter().map(|background| {
        let of = |setting: &str| setting.ends_with(background);
        (
            (*background).to_owned(),
            points(results, lookups::CLAIM.key, of),
        )
    });
    let plot = |title: &str, x, series| Plot {
        title: title.to_owned(),
        x,
        y: "ms",
        is_log: true,
        series,
    };
    [
        plot(
            "Cost of a node or a round, by its place",
            "place",
            vec![
                all(&growth::NODE_COST),
                all(&growth::ROUND_COST),
                all(&growth::ACTING_COST),
            ],
        ),
        plot(growth::STATE.title, "KiB", vec![all(&growth::STATE)]),
        plot(lookups::CLAIM.title, "other executions", claims.collect()),
    ]
}

/// How late how many are: the share of the values below each.
fn quantiles(results: &Results) -> Plot {
    let keys = [
        &limits::NOTIFY,
        &limits::INSERT_AND_NOTIFY,
        &latency::WAKE_FROM_COMMIT,
        &latency::WAKE_FROM_CALL,
    ];
    let series = keys.map(|scenario| {
        let mut values: Vec<f64> = results
            .of(scenario.key)
            .flat_map(|row| row.values())
            .collect();
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        let points = values
            .into_iter()
            .zip(1_u32..)
            .map(|(value, rank)| (f64::from(rank) / count * 100.0, value))
            .collect();
        (scenario.title.to_owned(), points)
    });
    Plot {
        title: "Wake-up beside the limits: so many of a hundred take no longer".to_owned(),
        x: "%",
        y: "ms",
        is_log: false,
        series: series.into(),
    }
}

fn points(results: &Results, key: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = results
        .of(key)
        .filter(|row| is_wanted(&row.finding.setting))
        .filter_map(|row| Some((row.finding.x?, row.median())))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

fn draw(plot: &Plot) -> anyhow::Result<String> {
    let all = || plot.series.iter().flat_map(|(_, points)| points);
    let least = all().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let most = all().map(|(x, _)| *x).fold(0.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(0.0, f64::max) * 1.25 + f64::MIN_POSITIVE;
    let mut svg = String::new();
    if plot.is_log {
        let range = (least.max(f64::MIN_POSITIVE) / 1.2)..(most * 1.2);
        draw_on(plot, range.log_scale(), top, &mut svg)?;
    } else {
        draw_on(plot, least..most, top, &mut svg)?;
    }
    Ok(svg)
}

fn draw_on<X>(plot: &Plot, range: X, top: f64, svg: &mut String) -> anyhow::Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    // The library's errors borrow from what is drawn on.
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let paint = || -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&plot.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(range, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(plot.x)
            .y_desc(plot.y)
            .x_label_formatter(&|x| report::number(*x))
            .y_label_formatter(&|y| report::number(*y))
            .draw()?;
        for (number, (name, points)) in plot.series.iter().enumerate() {
            let color = Palette99::pick(number).to_rgba();
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    color.stroke_width(2),
                ))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                });
            // With many points the line is enough.
            if points.len() < 20 {
                chart.draw_series(
                    points
                        .iter()
                        .map(|point| Circle::new(*point, 3, color.filled())),
                )?;
            }
        }
        if plot.series.iter().all(|(name, _)| name.is_empty()) {
            area.present()?;
            return Ok(());
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    };
    paint().map_err(|error| anyhow!("{:?} cannot be drawn: {error}", plot.title))
}
