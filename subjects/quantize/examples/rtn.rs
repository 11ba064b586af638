//! scratch: rtn IN OUT PATTERN... : int4 for tensors that contain a pattern (prefix L<a>-<b>: restricts layers), int8 otherwise
use std::path::Path;
use apr_format::{AprFile, AprWriter, Overwrite, TensorSpec};
use apr_quantize::round_to_nearest;
use apr_tensor::Packing;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let file = AprFile::open_verified(Path::new(&a[1])).unwrap();
    let pats = &a[3..];
    let packing = |name: &str, shape: &[usize]| -> Option<Packing> {
        if !Packing::fits(shape) { return None }
        Some(if pats.iter().any(|p| name.contains(p.as_str())) { Packing::Int4 } else { Packing::Int8 })
    };
    let specs: Vec<TensorSpec> = file.entries().iter().map(|e| TensorSpec { name: e.name.clone(), shape: e.shape.clone(), dtype: packing(&e.name, &e.shape).map_or(e.dtype, Packing::dtype) }).collect();
    let mut w = AprWriter::create(Path::new(&a[2]), file.metadata().clone(), specs.clone(), Overwrite::Allow).unwrap();
    for s in &specs {
        let t = file.tensor(&s.name).unwrap();
        match packing(&s.name, &s.shape) {
            None => w.write_tensor(&s.name, t.bytes()).unwrap(),
            Some(p) => { let q = round_to_nearest(p, &t.to_f32(), &vec![1.0; s.shape[1]]); w.write_tensor(&s.name, &q.to_bytes()).unwrap() }
        }
    }
    println!("{} bytes", w.finish().unwrap().file_size);
}
