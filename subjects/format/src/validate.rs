//! Everything that is wrong with a file, not only the first thing: what `apr validate` reports.

use std::path::Path;

use bytes::Bytes;

use crate::architecture;
use crate::error::{Fault, FormatError};
use crate::hash;
use crate::header::{Flags, HEADER_SIZE, Header};
use crate::index::{self, IndexEntry};
use crate::keys::TrustedKeys;
use crate::layout;
use crate::metadata::{self, Metadata, Slots};
use crate::sign::{self, SignatureVerdict};
use crate::source::{FileSource, ReadAt};
use crate::verified;

pub use crate::validation::{Check, Finding, Outcome, Severity, TensorReport, Validation};

/// What to hold a file to.
#[derive(Clone, Debug, Default)]
pub struct ValidateOptions {
    /// Keys whose signatures count.
    pub trusted: TrustedKeys,
    /// Whether a file without a trusted signature is in error.
    pub require_signature: bool,
}

/// Reads all of `path` and lists what is wrong with it. An error means that it could not be read.
pub fn validate(path: &Path, options: &ValidateOptions) -> Result<Validation, FormatError> {
    let (source, stamp) = FileSource::open(path)?;
    let mut validator = Validator::new(path, stamp.size);
    validator.run(&source, options).map_err(FormatError::io("read", path))?;
    let now = source.stamp().map_err(FormatError::io("read", path))?;
    if now != stamp {
        return Err(FormatError::Changed { path: path.to_owned(), what: "it was written to".to_owned() });
    }
    Ok(validator.validation)
}

/// The same for a model that is already in memory; `path` is what the report calls it.
#[cfg_attr(any(), probador::allow(I5, reason = "fuzzing and tests validate files that lie nowhere"))]
pub fn validate_bytes(
    path: &Path,
    data: &Bytes,
    options: &ValidateOptions,
) -> Result<Validation, FormatError> {
    let mut validator = Validator::new(path, data.len() as u64);
    validator.run(data, options).map_err(FormatError::io("read", path))?;
    Ok(validator.validation)
}

/// A validation in the making.
struct Validator {
    validation: Validation,
    undone: Vec<Check>,
}

/// Header, metadata and index as far as they can be read.
struct Parts {
    header: Header,
    head: Vec<u8>,
    slots: Option<Slots>,
    entries: Option<Vec<IndexEntry>>,
    /// Bytes between the sections that are not zero.
    padding: Vec<Fault>,
}

impl Validator {
    fn new(path: &Path, file_size: u64) -> Self {
        let validation = Validation {
            path: path.to_owned(),
            file_size,
            checks: Vec::new(),
            findings: Vec::new(),
            signature: SignatureVerdict::Unsigned,
            root_hash: None,
            tensors_present: None,
            n_parameters: 0,
            tensors: Vec::new(),
            metadata: None,
            fit: Err("the metadata or the index cannot be read".to_owned()),
            tokenizer_json: None,
        };
        Self { validation, undone: Check::ALL.to_vec() }
    }

    fn run(&mut self, source: &dyn ReadAt, options: &ValidateOptions) -> std::io::Result<()> {
        let parts = self.check_head(source)?;
        self.check_data(source, parts.as_ref())?;
        if let Some(parts) = &parts {
            self.check_seal(parts, options);
            self.check_content(parts);
        }
        let reason = "what it needs cannot be read";
        for check in std::mem::take(&mut self.undone) {
            self.validation.checks.push((check, Outcome::NotDone { reason: reason.to_owned() }));
        }
        self.validation.checks.sort_by_key(|(check, _)| *check);
        Ok(())
    }

    /// Notes how `check` came out: failed when there are faults.
    fn done(&mut self, check: Check, faults: impl IntoIterator<Item = Fault>) -> bool {
        let findings = faults.into_iter().map(|fault| (Severity::Error, fault.to_string()));
        self.done_with(check, findings)
    }

    fn done_with(&mut self, check: Check, findings: impl IntoIterator<Item = (Severity, String)>) -> bool {
        let mut passed = true;
        for (severity, what) in findings {
            passed &= severity < Severity::Error;
            self.validation.findings.push(Finding { check, severity, what });
        }
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        self.validation.checks.push((check, outcome));
        self.undone.retain(|undone| *undone != check);
        passed
    }

    fn not_done(&mut self, check: Check, severity: Severity, reason: String) {
        self.validation.findings.push(Finding { check, severity, what: reason.clone() });
        self.validation.checks.push((check, Outcome::NotDone { reason }));
        self.undone.retain(|undone| *undone != check);
    }

    fn check_head(&mut self, source: &dyn ReadAt) -> std::io::Result<Option<Parts>> {
        let file_size = self.validation.file_size;
        let mut header_bytes = vec![0; file_size.min(HEADER_SIZE as u64) as usize];
        source.read_exact_at(&mut header_bytes, 0)?;
        let header = match Header::decode(&header_bytes) {
            Ok(header) => header,
            Err(fault) => {
                self.done(Check::Header, [fault]);
                return Ok(None);
            }
        };
        self.done(Check::Header, header.faults(file_size));
        if header.check_sections(file_size).is_err() {
            return Ok(None);
        }
        let mut head = vec![0; header.data_offset as usize];
        source.read_exact_at(&mut head, 0)?;
        let mut parts = Parts { header, head, slots: None, entries: None, padding: Vec::new() };
        let (metadata_text, index_bytes) = layout::sections(&header, &parts.head);
        let parsed_metadata = metadata::parse(metadata_text);
        match index::parse(index_bytes, header.tensor_count) {
            Ok((entries, index_size)) => {
                let usable = self.done(Check::Index, index::faults(&entries, header.data_offset, file_size));
                self.validation.n_parameters =
                    entries.iter().map(IndexEntry::n_elements).fold(0, u64::saturating_add);
                parts.padding = layout::padding_faults(&header, &parts.head, index_size);
                parts.entries = usable.then_some(entries);
            }
            Err(fault) => {
                self.done(Check::Index, [fault]);
            }
        }
        match parsed_metadata {
            Ok((metadata, slots)) => {
                let faults = parts.entries.iter().flat_map(|entries| layout::hash_faults(&metadata, entries));
                let faults: Vec<Fault> = faults.collect();
                self.done(Check::Metadata, faults);
                self.validation.metadata = Some(metadata);
                parts.slots = Some(slots);
            }
            Err(fault) => {
                self.done(Check::Metadata, [fault]);
            }
        }
        Ok(Some(parts))
    }

    fn check_data(&mut self, source: &dyn ReadAt, parts: Option<&Parts>) -> std::io::Result<()> {
        let file_size = self.validation.file_size;
        let Some((parts, entries)) = parts.and_then(|parts| Some((parts, parts.entries.as_ref()?))) else {
            if file_size >= HEADER_SIZE as u64 {
                let fault = verified::read_unstructured(source, file_size)?;
                self.done(Check::Checksum, fault);
            }
            return Ok(());
        };
        let none = std::collections::BTreeMap::new();
        let hashes = self.validation.metadata.as_ref().map_or(&none, |metadata| &metadata.tensor_hashes);
        let has_hashes = !hashes.is_empty();
        let data_offset = parts.header.data_offset;
        let data = verified::read_data(source, data_offset, entries, hashes, file_size, true)?;
        let (mut padding, mut tensors, mut checksum) = (parts.padding.clone(), Vec::new(), Vec::new());
        for fault in data.faults {
            match fault {
                Fault::Padding(_) => padding.push(fault),
                Fault::TensorHash { .. } => tensors.push(fault),
                _ => checksum.push(fault),
            }
        }
        self.done(Check::Padding, padding);
        self.done(Check::Checksum, checksum);
        if has_hashes || entries.is_empty() {
            self.done(Check::TensorHashes, tensors);
        } else {
            self.not_done(
                Check::TensorHashes,
                Severity::Warning,
                "the file stores no tensor hashes".to_owned(),
            );
        }
        self.validation.tensors = entries
            .iter()
            .zip(data.stats)
            .map(|(entry, stats)| TensorReport {
                name: entry.name.clone(),
                dtype: entry.dtype.name().to_owned(),
                shape: entry.shape.clone(),
                stats,
            })
            .collect();
        Ok(())
    }

    fn check_seal(&mut self, parts: &Parts, options: &ValidateOptions) {
        let (Some(metadata), Some(slots)) = (&self.validation.metadata, &parts.slots) else { return };
        let computed = hash::root(&parts.head, slots);
        let stored = metadata.root_hash.clone();
        let signed = parts.header.flags.contains(Flags::SIGNED);
        let seal = sign::check_seal(signed, metadata, &computed);
        let verdict = match seal {
            Ok(()) => sign::verdict(metadata, &computed, &options.trusted),
            Err(fault) => SignatureVerdict::Invalid { what: fault.to_string() },
        };
        match stored {
            Some(stored) if stored == computed => {
                self.done(Check::RootHash, []);
            }
            Some(stored) => {
                self.done(Check::RootHash, [Fault::RootHash { stored, computed: computed.clone() }]);
            }
            None => {
                self.not_done(Check::RootHash, Severity::Warning, "the file stores no root hash".to_owned());
            }
        }
        let doubt = if options.require_signature { Severity::Error } else { Severity::Note };
        match &verdict {
            SignatureVerdict::SignedTrusted { .. } => {
                self.done(Check::Signature, []);
            }
            SignatureVerdict::SignedUntrusted { key } => {
                let what = format!("it is signed by {key}, which is not trusted");
                self.done_with(Check::Signature, [(doubt.max(Severity::Warning), what)]);
            }
            SignatureVerdict::Unsigned if options.require_signature => {
                self.done_with(Check::Signature, [(doubt, "it is not signed".to_owned())]);
            }
            SignatureVerdict::Unsigned => {
                self.not_done(Check::Signature, doubt, "it is not signed".to_owned());
            }
            SignatureVerdict::Invalid { what } => {
                let what = what.clone();
                self.done_with(Check::Signature, [(Severity::Error, what)]);
            }
        }
        self.validation.signature = verdict;
        self.validation.root_hash = Some(computed);
    }

    fn check_content(&mut self, parts: &Parts) {
        if let Some(metadata) = self.validation.metadata.clone() {
            match metadata.tokenizer.as_ref().map(crate::tokenizer::EmbeddedTokenizer::unpack) {
                Some(Ok(json)) => {
                    self.done(Check::Tokenizer, []);
                    self.validation.tokenizer_json = Some(json);
                }
                Some(Err(what)) => {
                    self.done(Check::Tokenizer, [Fault::Tokenizer(what.to_string())]);
                }
                None => {
                    let reason = "the file embeds no tokenizer".to_owned();
                    self.not_done(Check::Tokenizer, Severity::Note, reason);
                }
            }
            if let Some(entries) = &parts.entries {
                self.check_shapes(&metadata, entries);
            }
        }
        if parts.entries.is_some() {
            let mut findings = Vec::new();
            for TensorReport { name, stats, .. } in &self.validation.tensors {
                if stats.n_nan + stats.n_infinite > 0 {
                    let what = format!(
                        "tensor `{name}`: {} of {} elements are NaN and {} infinite",
                        stats.n_nan, stats.n_elements, stats.n_infinite
                    );
                    findings.push((Severity::Error, what));
                }
            }
            self.done_with(Check::Values, findings);
        }
    }

    fn check_shapes(&mut self, metadata: &Metadata, entries: &[IndexEntry]) {
        let fit = architecture::fit(metadata, entries);
        match &fit {
            Ok(fit) => {
                let missing = fit
                    .missing
                    .iter()
                    .map(|name| format!("tensor `{name}`: the config asks for it and it is missing"));
                let misshapen = fit.misshapen.iter().map(|(name, what)| format!("tensor `{name}`: {what}"));
                let errors: Vec<_> = missing.chain(misshapen).map(|what| (Severity::Error, what)).collect();
                let unexpected = fit.unexpected.iter().map(|name| {
                    (Severity::Warning, format!("tensor `{name}`: the config does not ask for it"))
                });
                let findings: Vec<_> = errors.into_iter().chain(unexpected).collect();
                self.validation.tensors_present = Some((fit.n_present, fit.n_expected));
                self.done_with(Check::Shapes, findings);
            }
            Err(reason) => self.not_done(Check::Shapes, Severity::Note, reason.clone()),
        }
        self.validation.fit = fit;
    }
}
