//! Cost and ratio of turning a block into a run and back, per codec and kind of event.
//!
//! `cargo bench --bench codec` measures zlib-rs, `--features isal` adds ISA-L. Throughput is of
//! raw bytes: 1 GiB/s is 0.93 ns/B. Ratios stand in front of the timings.
#![allow(clippy::print_stdout, reason = "ratios are a result of this bench")]

mod corpus;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir::block::codec::{Codec, CompressionLevel, Inflater, ZlibCodec};

/// Raw bytes of a full block.
const BLOCK_BYTES: usize = 512 << 10;

/// More blocks than fit the second-level cache, as on a shard.
const BLOCKS: u64 = 8;

fn codecs() -> Vec<(String, Box<dyn Codec>)> {
    let mut codecs: Vec<(String, Box<dyn Codec>)> = Vec::new();
    for level in [1, 2] {
        let level = CompressionLevel::new(level).expect("1 and 2 are levels");
        let mut add = |codec: Box<dyn Codec>| {
            codecs.push((format!("{}-{}", codec.name(), level.level()), codec));
        };
        add(Box::new(ZlibCodec::new(level)));
        #[cfg(feature = "isal")]
        add(Box::new(weir::block::isal::IsalCodec::new(level)));
    }
    codecs
}

fn bench(criterion: &mut Criterion) {
    let audit: Vec<_> = (1..=BLOCKS)
        .map(|seed| corpus::audit_block(BLOCK_BYTES, seed))
        .collect();
    let waf: Vec<_> = (1..=BLOCKS)
        .map(|seed| corpus::waf_block(BLOCK_BYTES, seed))
        .collect();
    for (kind, blocks) in [("audit", &audit), ("waf", &waf)] {
        let mut compress = criterion.benchmark_group(format!("compress/{kind}"));
        compress.throughput(Throughput::Bytes(BLOCK_BYTES as u64 * BLOCKS));
        for (name, mut codec) in codecs() {
            let runs = compress_all(codec.as_mut(), blocks);
            let body_bytes: usize = runs.iter().map(Vec::len).sum();
            let raw_bytes = BLOCK_BYTES * blocks.len();
            println!(
                "{kind} {name}: ratio {:.2}",
                raw_bytes as f64 / body_bytes as f64
            );
            let mut run = Vec::new();
            compress.bench_function(BenchmarkId::from_parameter(&name), |bencher| {
                bencher.iter(|| {
                    for raw in blocks {
                        run.clear();
                        codec.compress_run(raw, &mut run).expect("blocks are short");
                        black_box(&run);
                    }
                });
            });
        }
        compress.finish();

        let mut inflate = criterion.benchmark_group(format!("inflate/{kind}"));
        inflate.throughput(Throughput::Bytes(BLOCK_BYTES as u64 * BLOCKS));
        for (name, mut codec) in codecs() {
            let runs = compress_all(codec.as_mut(), blocks);
            let mut inflater = Inflater::new();
            let mut raw = Vec::new();
            inflate.bench_function(
                BenchmarkId::from_parameter(format!("of-{name}")),
                |bencher| {
                    bencher.iter(|| {
                        for run in &runs {
                            raw.clear();
                            inflater
                                .inflate_run(run, BLOCK_BYTES, &mut raw)
                                .expect("a run of our own");
                            black_box(&raw);
                        }
                    });
                },
            );
        }
        inflate.finish();
    }
}

fn compress_all(codec: &mut dyn Codec, blocks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    blocks
        .iter()
        .map(|raw| {
            let mut run = Vec::new();
            codec.compress_run(raw, &mut run).expect("blocks are short");
            run
        })
        .collect()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = bench
}
criterion_main!(benches);
