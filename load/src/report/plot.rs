//! Bars with their spread, and how a download came, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{
    document::Block,
    group::{FIRST_P50, GOODPUT, Group, Measure, P50, P95, P99, REBUFFERING},
};
use crate::spread::Spread;

/// One set of bars: what it is, and the value of each contestant.
struct Series {
    label: &'static str,
    values: Vec<Option<Spread>>,
}

const COLORS: [RGBColor; 3] = [
    RGBColor(49, 104, 142),
    RGBColor(53, 183, 121),
    RGBColor(230, 159, 0),
];

/// The plots of a case.
#[must_use]
pub fn of(group: &Group<'_>) -> Vec<Block> {
    let plots: &[(&str, &[Measure])] = match group.case.workload.as_str() {
        "viewers" => &[("time stalled, %", &[REBUFFERING])],
        "download" => &[("goodput, Mbit/s", &[GOODPUT])],
        _ => &[
            ("goodput, Mbit/s", &[GOODPUT]),
            ("total time, ms", &[P50, P95, P99]),
            ("first byte, ms", &[FIRST_P50]),
        ],
    };
    let peers = group.peers();
    if group.case.workload == "broken" {
        let title = format!("{}: what had come, MB", group.case.title());
        let svg = arrivals(&title, &peers, group);
        return svg
            .ok()
            .map(|svg| Block::Plot(title, svg))
            .into_iter()
            .collect();
    }
    plots
        .iter()
        .filter_map(|(what, measures)| {
            let title = format!("{}: {what}", group.case.title());
            let series: Vec<Series> = measures
                .iter()
                .map(|m| Series {
                    label: m.name,
                    values: peers.iter().map(|p| group.spread(p, *m)).collect(),
                })
                .collect();
            // A plot that cannot be drawn (no value at all) is left out; the table says why.
            bars(&title, &peers, &series)
                .ok()
                .map(|svg| Block::Plot(title, svg))
        })
        .collect()
}

/// Horizontal bars, a line from the least to the most on each.
fn bars(title: &str, names: &[&str], series: &[Series]) -> Result<String> {
    let most = series
        .iter()
        .flat_map(|s| s.values.iter().flatten())
        .map(|s| s.high)
        .fold(0.0_f64, f64::max);
    if most <= 0.0 {
        return Err(anyhow!("nothing to draw"));
    }
    let broken = |error: DrawingAreaErrorKind<std::io::Error>| anyhow!("{error}");
    let (count, sets) = (names.len(), series.len());
    let height = u32::try_from(90 + count * (14 * sets + 10))?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (860, height)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| anyhow!("{e}"))?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .margin_right(30)
            .x_label_area_size(30)
            .y_label_area_size(140)
            .build_cartesian_2d(0.0..most * 1.15, 0.0..count as f64)
            .map_err(|e| anyhow!("{e}"))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .light_line_style(WHITE)
            .label_style(("sans-serif", 12))
            .draw()
            .map_err(|e| anyhow!("{e}"))?;
        let wide = 0.8 / sets as f64;
        for (s, set) in series.iter().enumerate() {
            let color = COLORS[s % COLORS.len()];
            let boxes = set.values.iter().enumerate().filter_map(|(n, value)| {
                let value = (*value)?;
                // The first name stands at the top.
                let top = (count - n) as f64 - 0.1 - s as f64 * wide;
                Some((top, value))
            });
            let boxes: Vec<(f64, Spread)> = boxes.collect();
            chart
                .draw_series(boxes.iter().map(|(top, v)| {
                    Rectangle::new([(0.0, top - wide * 0.9), (v.median, *top)], color.filled())
                }))
                .map_err(|e| anyhow!("{e}"))?
                .label(set.label)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 10, y + 5)], color.filled())
                });
            chart
                .draw_series(boxes.iter().map(|(top, v)| {
                    let middle = top - wide * 0.45;
                    PathElement::new(
                        vec![(v.low, middle), (v.high, middle)],
                        BLACK.stroke_width(1),
                    )
                }))
                .map_err(|e| anyhow!("{e}"))?;
            chart
                .draw_series(boxes.iter().map(|(top, v)| {
                    let digits = if v.median < 10.0 {
                        2
                    } else {
                        usize::from(v.median < 100.0)
                    };
                    let text = format!(" {:.digits$}", v.median);
                    Text::new(text, (v.high, top - wide * 0.1), ("sans-serif", 11))
                }))
                .map_err(|e| anyhow!("{e}"))?;
        }
        for (n, name) in names.iter().enumerate() {
            let at = chart.backend_coord(&(0.0, (count - n) as f64 - 0.5));
            root.draw(&Text::new(
                (*name).to_owned(),
                (14, at.1 - 7),
                ("sans-serif", 13),
            ))
            .map_err(broken_text)?;
        }
        if sets > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .label_font(("sans-serif", 12))
                .draw()
                .map_err(|e| anyhow!("{e}"))?;
        }
        root.present().map_err(broken)?;
    }
    Ok(svg)
}

/// What had come of a download over time, in the first round of each.
fn arrivals(title: &str, names: &[&str], group: &Group<'_>) -> Result<String> {
    let lines: Vec<(&str, Vec<(f64, f64)>)> = names
        .iter()
        .filter_map(|name| {
            let record = group.records.iter().find(|r| r.peer == **name)?;
            let points = record.clients.arrivals.iter();
            Some((
                *name,
                points
                    .map(|(at, bytes)| (*at, *bytes as f64 / 1e6))
                    .collect(),
            ))
        })
        .collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let longest = points().map(|p| p.0).fold(0.0_f64, f64::max);
    let most = points().map(|p| p.1).fold(0.0_f64, f64::max);
    if most <= 0.0 {
        return Err(anyhow!("nothing to draw"));
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (860, 360)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| anyhow!("{e}"))?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..longest * 1.05, 0.0..most * 1.1)
            .map_err(|e| anyhow!("{e}"))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(("sans-serif", 12))
            .x_desc("seconds")
            .draw()
            .map_err(|e| anyhow!("{e}"))?;
        for (n, (name, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(n).to_rgba();
            chart
                .draw_series([PathElement::new(points.clone(), color.stroke_width(2))])
                .map_err(|e| anyhow!("{e}"))?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2))
                });
            if let Some(end) = points.last() {
                chart
                    .draw_series([Circle::new(*end, 4, color.filled())])
                    .map_err(|e| anyhow!("{e}"))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 12))
            .draw()
            .map_err(|e| anyhow!("{e}"))?;
        root.present().map_err(|e| anyhow!("{e}"))?;
    }
    Ok(svg)
}

fn broken_text(error: DrawingAreaErrorKind<std::io::Error>) -> anyhow::Error {
    anyhow!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_with_every_name() {
        let values = vec![Spread::of([1.0, 2.0, 3.0]), None];
        let svg = bars("t", &["one", "two"], &[Series { label: "x", values }]).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains("one") && svg.contains("two"),
            "{svg}"
        );
    }

    #[test]
    fn nothing_to_draw_is_no_plot() {
        assert!(
            bars(
                "t",
                &["one"],
                &[Series {
                    label: "x",
                    values: vec![None]
                }]
            )
            .is_err()
        );
    }
}
