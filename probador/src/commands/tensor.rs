//! `tensor export`, `tensor compare`, `tensor stats`: what a model's tensors hold.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use apr_format::AprFile;
use apr_format::atomic::{self, Overwrite};
use apr_tensor::{DType, Tensor};
use clap::{Args, Subcommand};
use half::{bf16, f16};
use serde::Serialize;

use super::new_folder::NewFolder;
use super::trace::{Report, conclude, print_row};
use crate::compare::{Histogram, NonFinite, QUANTILES, Statistics, Tolerance};
use crate::exit::ExitStatus;
use crate::golden::npy;
use crate::pictures::{Grid, TensorPicture, histogram_svg, tensors_page};
use crate::printer::Printer;
use crate::tensors::{Collection, NamePattern, Numbers, diff};

/// `tensor`.
#[derive(Debug, Subcommand)]
pub enum TensorCommand {
    /// Write a model's tensors as .npy files
    Export(ExportArgs),
    /// Compare the tensors of two models, or of two folders of .npy files
    Compare(CompareArgs),
    /// Show what the tensors of a model or of a folder look like
    Stats(StatsArgs),
}

/// `tensor export`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo probador tensor export model.apr -o tensors/\n  \
                        cargo probador tensor export model.apr -o norms/ --key norm\n\n\
                        Values are float32, which holds every type of an .apr file exactly. The folder appears when it is complete.")]
pub struct ExportArgs {
    /// The model
    model: PathBuf,
    /// The folder to make
    #[arg(short, long, value_name = "DIR", default_value = "tensors")]
    output: PathBuf,
    /// Only tensors whose name contains this, or matches it when it has a `*`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    key: Vec<NamePattern>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `tensor compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo probador tensor compare v1.apr v2.apr\n  \
                        cargo probador tensor compare v1/ v2/ --tolerance 1e-6\n\n\
                        Without a tolerance the values must be equal, NaN to NaN. Exits with 100 when a tensor differs or is missing.")]
pub struct CompareArgs {
    /// One model, or folder
    v1: PathBuf,
    /// The other
    v2: PathBuf,
    /// How far values may be apart: an absolute tolerance, or an absolute and a relative one
    #[arg(long, value_name = "ATOL[,RTOL]", default_value = "0")]
    tolerance: Tolerance,
    /// Only tensors whose name contains this, or matches it when it has a `*`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    key: Vec<NamePattern>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `tensor stats`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo probador tensor stats model.apr\n  \
                        cargo probador tensor stats tensors/ --key mlp --json\n  \
                        cargo probador tensor stats model.apr --key layers.0. --histogram --heatmap\n  \
                        cargo probador tensor stats model.apr --html tensors.html\n\n\
                        Quantiles are exact; the deviation is the population's. Values that are not finite are counted and left out.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct StatsArgs {
    /// A model, or a folder of .npy files
    source: PathBuf,
    /// Only tensors whose name contains this, or matches it when it has a `*`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    key: Vec<NamePattern>,
    /// Show how each tensor's values are spread
    #[arg(long)]
    histogram: bool,
    /// Show each matrix from afar: the mean magnitude in each cell of a coarse grid
    #[arg(long)]
    heatmap: bool,
    /// Write both as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Let --html replace a file that is there
    #[arg(long, requires = "html")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs what was typed.
pub(super) fn run(command: &TensorCommand, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    match command {
        TensorCommand::Export(args) => export(args, printer),
        TensorCommand::Compare(args) => compare(args, printer),
        TensorCommand::Stats(args) => stats(args, printer),
    }
}

#[derive(Serialize)]
struct Exported<'e> {
    folder: String,
    tensors: Vec<&'e str>,
}

fn export(args: &ExportArgs, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let file = AprFile::open_verified(&args.model)?;
    let names: Vec<&str> = file
        .entries()
        .iter()
        .map(|entry| entry.name.as_str())
        .filter(|name| NamePattern::any(&args.key, name))
        .collect();
    if names.is_empty() {
        return Ok(nothing_selected(printer));
    }
    // A name becomes a file's; what could leave the folder is refused before anything is written.
    if let Some(name) = names.iter().find(|name| !is_plain_file_name(name)) {
        bail!("tensor `{}` of `{}` cannot be a file's name", name.escape_debug(), args.model.display());
    }
    let folder = NewFolder::create(&args.output)?;
    for name in &names {
        let tensor = file
            .tensor(name)
            .with_context(|| format!("`{}` has no tensor `{name}`", args.model.display()))?;
        let path = folder.path().join(format!("{name}.npy"));
        npy::write_f32(&path, tensor.shape(), &tensor.to_f32(), Overwrite::Refuse)?;
    }
    folder.commit()?;
    let folder = args.output.display().to_string();
    printer.talk(&format!("{} tensors in `{folder}`", names.len()));
    if args.json {
        printer.data(&serde_json::to_string_pretty(&Exported { folder, tensors: names })?);
    } else {
        for name in names {
            printer.data(&format!("{name}.npy"));
        }
    }
    Ok(ExitStatus::Pass)
}

fn is_plain_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(is_plain)
}

fn compare(args: &CompareArgs, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let (v1, v2) = (Collection::open(&args.v1)?, Collection::open(&args.v2)?);
    let found = diff(
        &v1,
        &v2,
        &args.key,
        |_| args.tolerance,
        NonFinite::SameIsEqual,
        |row, _| {
            if !args.json {
                print_row(row, printer);
            }
            Ok(())
        },
    )?;
    if args.json {
        let report = Report {
            a: args.v1.display().to_string(),
            b: args.v2.display().to_string(),
            tolerance: args.tolerance,
            passed: found.passes(),
            n_failed: found.n_failed(),
            diff: &found,
        };
        printer.data(&serde_json::to_string_pretty(&report)?);
    }
    Ok(conclude(&found, printer))
}

#[derive(Serialize)]
struct StatsReport {
    source: String,
    quantiles: [f64; QUANTILES.len()],
    tensors: Vec<StatsRow>,
}

#[derive(Serialize)]
struct StatsRow {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    #[serde(flatten)]
    statistics: Statistics,
    #[serde(flatten)]
    pictures: Pictures,
}

/// What a tensor looks like, where that was asked for.
#[derive(Default, Serialize)]
struct Pictures {
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Histogram>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmap: Option<Grid>,
}

fn stats(args: &StatsArgs, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let source = Collection::open(&args.source)?;
    let names: Vec<&str> =
        source.names().into_iter().filter(|name| NamePattern::any(&args.key, name)).collect();
    if names.is_empty() {
        return Ok(nothing_selected(printer));
    }
    let overwrite = if args.force { Overwrite::Allow } else { Overwrite::Refuse };
    if let Some(html) = args.html.as_deref().filter(|html| !args.force && html.exists()) {
        bail!("`{}` exists already\nhint: pass --force to replace it", html.display());
    }
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    if !args.json {
        printer.data(&format!(
            "{:width$}  {:>6}  {:>14}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  not finite",
            "tensor", "type", "shape", "mean", "std", "min", "median", "max"
        ));
    }
    let (mut rows, mut on_page) = (Vec::new(), Vec::new());
    for name in names {
        let mut row = row(&source, name)?;
        if args.html.is_some() {
            on_page.push(on_page_of(&source, &row)?);
        }
        row.pictures = pictures(&source, name, args)?;
        if args.json {
            rows.push(row);
        } else {
            print_statistics(&row, width, printer);
            print_pictures(&row.pictures, printer);
        }
    }
    if let Some(html) = &args.html {
        let page = tensors_page(&args.source.display().to_string(), &on_page)?;
        atomic::write(html, page.as_bytes(), overwrite)?;
        printer.talk(&format!("wrote `{}`", html.display()));
    }
    if args.json {
        let report =
            StatsReport { source: args.source.display().to_string(), quantiles: QUANTILES, tensors: rows };
        printer.data(&serde_json::to_string_pretty(&report)?);
    }
    Ok(ExitStatus::Pass)
}

/// The pictures that were asked for, as coarse as a terminal is.
fn pictures(source: &Collection, name: &str, args: &StatsArgs) -> anyhow::Result<Pictures> {
    let mut pictures = Pictures::default();
    if args.histogram || args.heatmap {
        with_values(source, name, |shape, values| {
            if args.histogram {
                pictures.histogram = Histogram::of(60, || values().map(f64::from));
            }
            if args.heatmap {
                pictures.heatmap = Grid::of(shape, (16, 64), values());
            }
        })?;
    }
    Ok(pictures)
}

fn on_page_of(source: &Collection, row: &StatsRow) -> anyhow::Result<TensorPicture> {
    let (mut histogram, mut heatmap) = (None, None);
    with_values(source, &row.name, |shape, values| {
        let spread = Histogram::of(60, || values().map(f64::from));
        histogram = spread.map(|spread| histogram_svg(&row.name, &spread));
        heatmap = Grid::of(shape, (64, 64), values()).map(|grid| grid.svg(&row.name));
    })?;
    let Statistics { n, mean, std, n_nan, n_inf, n_zero, .. } = &row.statistics;
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.3e}"));
    let facts = format!(
        "{}, {}, {n} values: mean {}, deviation {}, {n_zero} zeros, {} not finite",
        row.dtype,
        dimensions(&row.shape),
        number(*mean),
        number(*std),
        n_nan + n_inf
    );
    Ok(TensorPicture { name: row.name.clone(), facts, histogram, heatmap })
}

fn print_pictures(pictures: &Pictures, printer: &mut Printer) {
    if let Some(histogram) = &pictures.histogram {
        printer.data(&format!("  {:>10.3e} |{}| {:.3e}", histogram.low, histogram.bars(), histogram.high));
    }
    if let Some(grid) = &pictures.heatmap {
        for line in grid.shades() {
            printer.data(&format!("  {:>10} |{line}|", ""));
        }
        printer.data(&format!("  {:>10}  mean magnitude from 0 to {:.3e}", "", grid.largest()));
    }
}

fn dimensions(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// Yields values from the start each time it is called.
type Values<'v> = &'v dyn Fn() -> Box<dyn Iterator<Item = f32> + 'v>;

/// Hands the shape and the values of a tensor to `see`; a mapped tensor is widened value by value.
fn with_values(
    source: &Collection,
    name: &str,
    mut see: impl FnMut(&[usize], Values<'_>),
) -> anyhow::Result<()> {
    if let Some(tensor) = source.file().and_then(|file| file.tensor(name)) {
        let bytes = tensor.bytes();
        let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        match tensor.dtype() {
            DType::F16 => {
                see(tensor.shape(), &|| Box::new(pairs().map(|pair| f16::from_le_bytes(pair).to_f32())));
            }
            DType::Bf16 => {
                see(tensor.shape(), &|| Box::new(pairs().map(|pair| bf16::from_le_bytes(pair).to_f32())));
            }
            DType::F32 => {
                let fours = || bytes.chunks_exact(4).map(|four| [four[0], four[1], four[2], four[3]]);
                see(tensor.shape(), &|| Box::new(fours().map(f32::from_le_bytes)));
            }
            DType::Int8 | DType::Int4 => see(tensor.shape(), &|| Box::new(unpacked(&tensor))),
        }
        return Ok(());
    }
    let opened = source.load(name)?;
    match &opened.numbers {
        Numbers::F32(values) => see(&opened.shape, &|| Box::new(values.iter().copied())),
        Numbers::F64(values) => see(&opened.shape, &|| Box::new(values.iter().map(|&value| value as f32))),
    }
    Ok(())
}

/// The values of a packed matrix, a row in memory at a time.
fn unpacked(tensor: &Tensor) -> impl Iterator<Item = f32> {
    (0..tensor.shape()[0]).flat_map(|row| {
        let mut values = vec![0.0; tensor.shape()[1]];
        tensor.row_to_f32(row, &mut values);
        values
    })
}

fn print_statistics(row: &StatsRow, width: usize, printer: &mut Printer) {
    let shape = dimensions(&row.shape);
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3e}"));
    let Statistics { mean, std, min, max, quantiles, n_nan, n_inf, .. } = &row.statistics;
    printer.data(&format!(
        "{:width$}  {:>6}  {shape:>14}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {}",
        row.name,
        row.dtype,
        number(*mean),
        number(*std),
        number(min.map(f64::from)),
        number(quantiles.map(|quantiles| f64::from(quantiles[QUANTILES.len() / 2]))),
        number(max.map(f64::from)),
        n_nan + n_inf
    ));
}

fn row(source: &Collection, name: &str) -> anyhow::Result<StatsRow> {
    if let Some(tensor) = source.file().and_then(|file| file.tensor(name)) {
        // Widened value by value: the largest tensor of a model is not copied.
        let bytes = tensor.bytes();
        let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let statistics = match tensor.dtype() {
            DType::F16 => Statistics::of(|| pairs().map(|pair| f16::from_le_bytes(pair).to_f32())),
            DType::Bf16 => Statistics::of(|| pairs().map(|pair| bf16::from_le_bytes(pair).to_f32())),
            DType::F32 => Statistics::of(|| {
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            }),
            DType::Int8 | DType::Int4 => Statistics::of(|| unpacked(&tensor)),
        };
        let (dtype, shape) = (tensor.dtype().name().to_owned(), tensor.shape().to_vec());
        return Ok(StatsRow {
            name: name.to_owned(),
            dtype,
            shape,
            statistics,
            pictures: Pictures::default(),
        });
    }
    let opened = source.load(name)?;
    let statistics = match &opened.numbers {
        Numbers::F32(values) => Statistics::of_slice(values),
        Numbers::F64(values) => Statistics::of(|| values.iter().map(|&value| value as f32)),
    };
    let (dtype, shape) = (opened.dtype, opened.shape);
    Ok(StatsRow { name: name.to_owned(), dtype, shape, statistics, pictures: Pictures::default() })
}

fn nothing_selected(printer: &mut Printer) -> ExitStatus {
    printer.error("no tensor was selected\nhint: leave out `--key` to select all");
    ExitStatus::NothingRan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_are_no_file_names() {
        for name in ["../x", "/etc/passwd", "a/b", "a\0b", "", ".hidden", "a b", "ü"] {
            assert!(!is_plain_file_name(name), "{name:?}");
        }
        assert!(is_plain_file_name("model.layers.0.self_attn.q_proj.weight"));
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        assert!((QUANTILES[QUANTILES.len() / 2] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn stored_types_are_summarised_exactly() {
        use apr_format::{AprWriter, Metadata, TensorSpec};
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("model.apr");
        let spec = |name: &str, dtype| TensorSpec { name: name.into(), dtype, shape: vec![2, 2] };
        let specs = vec![spec("a", DType::F16), spec("b", DType::Bf16), spec("c", DType::F32)];
        let mut writer = AprWriter::create(path, Metadata::default(), specs, Overwrite::Refuse).unwrap();
        let values = [1.5_f32, -2.0, f32::NAN, 4.0];
        let bytes =
            |encode: fn(f32) -> Vec<u8>| values.iter().flat_map(|&value| encode(value)).collect::<Vec<u8>>();
        writer.write_tensor("a", &bytes(|value| f16::from_f32(value).to_le_bytes().to_vec())).unwrap();
        writer.write_tensor("b", &bytes(|value| bf16::from_f32(value).to_le_bytes().to_vec())).unwrap();
        writer.write_tensor("c", &bytes(|value| value.to_le_bytes().to_vec())).unwrap();
        writer.finish().unwrap();
        let source = Collection::open(path).unwrap();
        for name in ["a", "b", "c"] {
            let row = row(&source, name).unwrap();
            assert_eq!(row.statistics, Statistics::of_slice(&values), "{name}");
        }
    }

    #[test]
    fn a_name_may_have_two_hundred_letters() {
        assert!(is_plain_file_name(&"a".repeat(200)) && !is_plain_file_name(&"a".repeat(201)));
    }

    #[test]
    fn every_stored_type_and_every_folder_shows_its_values_from_the_start_again_and_again() {
        use apr_format::{AprWriter, Metadata, TensorSpec};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.apr");
        let spec = |name: &str, dtype| TensorSpec { name: name.into(), dtype, shape: vec![2, 2] };
        let specs = vec![spec("a", DType::F16), spec("b", DType::Bf16), spec("c", DType::F32)];
        let mut writer = AprWriter::create(&path, Metadata::default(), specs, Overwrite::Refuse).unwrap();
        let values = [1.5_f32, -2.0, 0.0, 4.0];
        let bytes =
            |encode: fn(f32) -> Vec<u8>| values.iter().flat_map(|&value| encode(value)).collect::<Vec<u8>>();
        writer.write_tensor("a", &bytes(|value| f16::from_f32(value).to_le_bytes().to_vec())).unwrap();
        writer.write_tensor("b", &bytes(|value| bf16::from_f32(value).to_le_bytes().to_vec())).unwrap();
        writer.write_tensor("c", &bytes(|value| value.to_le_bytes().to_vec())).unwrap();
        writer.finish().unwrap();
        let arrays = folder.path().join("arrays");
        std::fs::create_dir(&arrays).unwrap();
        npy::write_f32(&arrays.join("d.npy"), &[2, 2], &values, Overwrite::Refuse).unwrap();

        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for (place, name) in [(&path, "a"), (&path, "b"), (&path, "c"), (&arrays, "d")] {
            let source = Collection::open(place).unwrap();
            let mut seen = Vec::new();
            with_values(&source, name, |shape, values| {
                seen.push((shape.to_vec(), bits(&values().collect::<Vec<_>>())));
                seen.push((shape.to_vec(), bits(&values().collect::<Vec<_>>())));
            })
            .unwrap();
            let whole = (vec![2, 2], bits(&values));
            assert_eq!(seen, [whole.clone(), whole], "{name}");
            assert_eq!(row(&source, name).unwrap().statistics, Statistics::of_slice(&values), "{name}");
            assert_eq!(
                with_values(&source, "none", |_, _| {}).unwrap_err().to_string(),
                format!("`{}` has no tensor `none`", place.display())
            );
        }
    }

    #[test]
    fn pictures_are_drawn_as_asked_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        npy::write_f32(&folder.path().join("d.npy"), &[2, 2], &[1.5, -2.0, 0.0, 4.0], Overwrite::Refuse)
            .unwrap();
        let source = Collection::open(folder.path()).unwrap();
        let drawn = |histogram, heatmap| {
            let args = StatsArgs {
                source: folder.path().to_owned(),
                key: Vec::new(),
                histogram,
                heatmap,
                html: None,
                force: false,
                json: false,
            };
            let pictures = pictures(&source, "d", &args).unwrap();
            (pictures.histogram.is_some(), pictures.heatmap.is_some())
        };
        for (histogram, heatmap) in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(drawn(histogram, heatmap), (histogram, heatmap));
        }
    }
}
