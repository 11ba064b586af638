//! scratch: ppl TEXT N_WINDOWS MODEL [REFERENCE]
use std::path::Path;
use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::Tokenizer;
use rayon::prelude::*;
fn logp(row: &[f32]) -> (f64, Vec<f32>) {
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = row.iter().map(|v| f64::from((v - max).exp())).sum();
    let lse = f64::from(max) + sum.ln();
    (lse, row.iter().map(|v| (f64::from(*v) - lse) as f32).collect())
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a[2].parse().unwrap();
    let files: Vec<AprFile> = a[3..].iter().map(|p| AprFile::open_verified(Path::new(p)).unwrap()).collect();
    let tok = Tokenizer::from_json(&files[0].tokenizer_json().unwrap().unwrap()).unwrap();
    let text = std::fs::read_to_string(&a[1]).unwrap();
    let ids = tok.encode(&text[..text.floor_char_boundary(n * 512 * 6)]);
    let mut models: Vec<Qwen2> = files.iter().map(|f| Qwen2::load(f, LoadOptions { context_length: Some(512), n_threads: None }).unwrap()).collect();
    let (mut nll, mut nll2, mut kl, mut top, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for w in 0..n {
        let win = &ids[w * 512..(w + 1) * 512];
        let logits: Vec<_> = models.iter_mut().map(|m| { m.truncate(0); m.prefill(win, LogitRows::All, None).unwrap() }).collect();
        let parts: Vec<[f64; 4]> = (256..511).into_par_iter().map(|i| {
            let (_, q) = logp(logits[0].row(i));
            let t = win[i + 1].index();
            let mut out = [-f64::from(q[t]), 0.0, 0.0, 0.0];
            if logits.len() > 1 {
                let (_, p) = logp(logits[1].row(i));
                out[1] = -f64::from(p[t]);
                out[2] = p.iter().zip(&q).map(|(p, q)| f64::from(p.exp()) * f64::from(p - q)).sum();
                let am = |v: &[f32]| v.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
                out[3] = f64::from(u8::from(am(&p) == am(&q)));
            }
            out
        }).collect();
        for p in parts { nll += p[0]; nll2 += p[1]; kl += p[2]; top += p[3]; count += 1.0; }
        if w % 10 == 9 || w + 1 == n { println!("{} windows: ppl {:.4} reference {:.4} ({:+.2} %) KL {:.5} top1 {:.2} %", w + 1, (nll / count as f64).exp(), (nll2 / count).exp(), (((nll - nll2) / count).exp() - 1.0) * 100.0, kl / count, top / count * 100.0); }
    }
}
