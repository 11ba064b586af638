//! What a machine can do at best is measured for every instruction set: no rate is less than the work over all the time
//! that passed.

use std::time::Instant;

use apr_tensor::Compute;

#[test]
fn every_table_has_rates_that_are_the_work_over_its_time() {
    for name in Compute::available_kernels() {
        let compute = Compute::with_kernels(2, name).unwrap();
        for (what, rate) in [
            ("integers", &(|| compute.integer_rate()) as &dyn Fn() -> f64),
            ("floats", &|| compute.float_rate()),
        ] {
            let start = Instant::now();
            let measured = rate();
            // Both threads do at least 200,000 rounds of 2,560 multiply-adds.
            let at_least = 2.0 * 2.0 * 200_000.0 * 2_560.0 / start.elapsed().as_secs_f64();
            assert!(measured.is_finite() && measured >= at_least, "{name}, {what}: {measured} of {at_least}");
        }
    }
}

#[test]
fn bytes_are_all_read_whatever_their_number() {
    let compute = Compute::new(Some(2));
    for n in [0, 1, 63, 64, (1 << 20) + 65] {
        let start = Instant::now();
        let rate = compute.read_rate(&vec![1; n]);
        let at_least = n as f64 / start.elapsed().as_secs_f64();
        assert!(rate.is_finite() && rate >= at_least, "{n} bytes: {rate} of {at_least}");
    }
}
