//! scratch: gptq IN OUT CALIBRATION N_SEQUENCES
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use apr_format::{AprFile, AprWriter, Overwrite, TensorSpec};
use apr_generation::{CausalLm, Layered};
use apr_qwen2::{LoadOptions, Matrix, Qwen2};
use apr_quantize::{Hessian, Quantized, gptq, loss, round_to_nearest};
use apr_tensor::{Compute, Packing, Tensor};
use apr_tokenizer::Tokenizer;
const LEN: usize = 512;
fn dequantize(q: &Quantized, shape: &[usize]) -> Tensor { 
    let t = Tensor::new(q.packing.dtype(), shape.to_vec(), q.to_bytes().into()).unwrap();
    Tensor::from_f32(shape.to_vec(), &t.to_f32()).unwrap()
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a[4].parse().unwrap();
    let compute = Compute::new(None);
    let file = AprFile::open_verified(Path::new(&a[1])).unwrap();
    let tok = Tokenizer::from_json(&file.tokenizer_json().unwrap().unwrap()).unwrap();
    let text = std::fs::read_to_string(&a[3]).unwrap();
    let ids = tok.encode(&text);
    println!("{} tokens", ids.len());
    // Spread over the text.
    let stride = (ids.len() - LEN) / n;
    let mut model = Qwen2::load(&file, LoadOptions { context_length: Some(LEN), n_threads: None }).unwrap();
    let embed = file.tensor("model.embed_tokens.weight").unwrap();
    let d = model.hidden_size();
    let mut hidden: Vec<Vec<f64>> = (0..n).map(|s| {
        let mut row = vec![0.0; d];
        ids[s * stride..][..LEN].iter().flat_map(|id| { embed.row_to_f32(id.index(), &mut row); row.clone() }).map(f64::from).collect()
    }).collect();
    let mut done: BTreeMap<String, Quantized> = BTreeMap::new();
    let start = Instant::now();
    for layer in 0..model.n_layers().min(a.get(5).map_or(99, |l| l.parse().unwrap())) {
        let inter = model.config().intermediate_size;
        let q = model.config().query_width();
        let mut hs = [Hessian::new(d), Hessian::new(q), Hessian::new(d), Hessian::new(inter)];
        for (from, to, groups) in [(0usize, 4usize, vec![Matrix::QProj, Matrix::KProj, Matrix::VProj, Matrix::OProj, Matrix::GateProj, Matrix::UpProj, Matrix::DownProj])] {
            let _ = (from, to);
            let t0 = Instant::now();
            for sequence in &hidden {
                let mut h = sequence.clone();
                model.run_layer_seen(layer, &mut h, &mut |x| {
                    hs[0].add(&compute, x.attention); hs[1].add(&compute, x.output); hs[2].add(&compute, x.mlp); hs[3].add(&compute, x.down);
                }).unwrap();
            }
            let t1 = t0.elapsed().as_secs_f64();
            for matrix in groups {
                let h = match matrix { Matrix::QProj | Matrix::KProj | Matrix::VProj => &hs[0], Matrix::OProj => &hs[1], Matrix::GateProj | Matrix::UpProj => &hs[2], Matrix::DownProj => &hs[3] };
                let key = matrix.key(layer);
                let w = file.tensor(&key).unwrap();
                let shape = w.shape().to_vec();
                let packing = if matches!(matrix, Matrix::KProj | Matrix::VProj) { Packing::Int8 } else { Packing::Int4 };
                let values = w.to_f32();
                let t = Instant::now();
                let quantized = if packing == Packing::Int8 { round_to_nearest(packing, &values, &vec![1.0; shape[1]]) } else { gptq(&compute, packing, &values, h.values(), shape[1]) };
                let t = t.elapsed().as_secs_f64();
                let rtn = round_to_nearest(packing, &values, &vec![1.0; shape[1]]);
                let diag: Vec<f32> = (0..shape[1]).map(|i| h.values()[i * shape[1] + i]).collect();
                let rtni = round_to_nearest(packing, &values, &diag);
                let norm: f64 = (0..1).map(|_| loss(&values, h.values(), &Quantized { packing, columns: shape[1], values: vec![0; values.len()], scales: quantized.scales.clone() })).sum();
                println!(" {:?} gptq {:.4}% rtn {:.4}% rtn weighted {:.4}% {t:.1}s", matrix, 100.0 * loss(&values, h.values(), &quantized) / norm, 100.0 * loss(&values, h.values(), &rtn) / norm, 100.0 * loss(&values, h.values(), &rtni) / norm);
                model.replace(layer, matrix, dequantize(&quantized, &shape));
                done.insert(key, quantized);
            }
            println!(" | layer {layer} inputs {t1:.1}s total {:.0}s", start.elapsed().as_secs_f64());
        }
        for sequence in &mut hidden { model.run_layers(layer..layer + 1, sequence, None).unwrap(); }
    }
    let head = "model.embed_tokens.weight";
    done.insert(head.into(), round_to_nearest(Packing::Int8, &embed.to_f32(), &vec![1.0; d]));
    let specs: Vec<TensorSpec> = file.entries().iter().map(|e| TensorSpec { name: e.name.clone(), shape: e.shape.clone(), dtype: done.get(&e.name).map_or(e.dtype, |q| q.packing.dtype()) }).collect();
    let mut w = AprWriter::create(Path::new(&a[2]), file.metadata().clone(), specs.clone(), Overwrite::Allow).unwrap();
    for s in &specs {
        match done.get(&s.name) {
            None => w.write_tensor(&s.name, file.tensor(&s.name).unwrap().bytes()).unwrap(),
            Some(q) => w.write_tensor(&s.name, &q.to_bytes()).unwrap(),
        }
    }
    println!("{:?}", w.finish().unwrap());
    let _ = model.vocab_size();
}
