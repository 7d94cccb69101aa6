//! What a stream pays for a batch of 8 MiB raw: splicing its blocks against recompressing them.
//!
//! Throughput is of raw bytes. The splice copies the bodies into one buffer, which a sink that
//! writes them in turn does not even do. The recompression inflates first, as a stream has to.
#![allow(clippy::print_stdout, reason = "ratios are a result of this bench")]

mod corpus;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir::block::codec::{CompressionLevel, Inflater, best_codec};
use weir::stream::gzip::{GzipMember, Recompressor};

/// Raw bytes of a batch.
const BATCH_BYTES: usize = 8 << 20;

struct Body {
    run: Vec<u8>,
    raw_crc32: u32,
    raw_len: usize,
}

fn batch(block_bytes: usize) -> Vec<Body> {
    let mut codec = best_codec(CompressionLevel::FASTEST);
    let blocks = BATCH_BYTES / block_bytes;
    (0..blocks as u64)
        .map(|seed| {
            let raw = corpus::audit_block(block_bytes, seed + 1);
            let mut run = Vec::new();
            codec
                .compress_run(&raw, &mut run)
                .expect("blocks are short");
            Body {
                run,
                raw_crc32: crc32fast::hash(&raw),
                raw_len: raw.len(),
            }
        })
        .collect()
}

fn splice(batch: &[Body], out: &mut Vec<u8>) {
    let mut member = GzipMember::new();
    out.extend_from_slice(&GzipMember::header());
    for body in batch {
        out.extend_from_slice(&body.run);
        member.add_run(body.raw_crc32, body.raw_len as u64);
    }
    out.extend_from_slice(&member.finish());
}

fn recompress(batch: &[Body], tools: &mut (Inflater, Recompressor, Vec<u8>), out: &mut Vec<u8>) {
    let (inflater, recompressor, raw) = tools;
    let mut member = GzipMember::new();
    out.extend_from_slice(&GzipMember::header());
    for body in batch {
        raw.clear();
        inflater
            .inflate_run(&body.run, body.raw_len, raw)
            .expect("a run of our own");
        recompressor.push(raw, out).expect("pieces are short");
    }
    let run = recompressor.finish(out).expect("pieces are short");
    member.add_run(run.raw_crc32, run.raw_len);
    out.extend_from_slice(&member.finish());
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Bytes(BATCH_BYTES as u64));
    let codec = best_codec(CompressionLevel::FASTEST);
    println!("codec {}", codec.name());
    let mut tools = (Inflater::new(), Recompressor::new(codec), Vec::new());
    for block_kib in [8, 32, 64, 128, 512] {
        let batch = batch(block_kib << 10);
        let ratio = |out: &[u8]| BATCH_BYTES as f64 / out.len() as f64;
        let (mut spliced, mut recompressed) = (Vec::new(), Vec::new());
        splice(&batch, &mut spliced);
        recompress(&batch, &mut tools, &mut recompressed);
        println!(
            "blocks of {block_kib} KiB: ratio {:.2} spliced, {:.2} recompressed",
            ratio(&spliced),
            ratio(&recompressed)
        );
        group.bench_function(BenchmarkId::new("splice", block_kib), |bencher| {
            bencher.iter(|| {
                spliced.clear();
                splice(&batch, &mut spliced);
                black_box(&spliced);
            });
        });
        group.bench_function(BenchmarkId::new("recompress", block_kib), |bencher| {
            bencher.iter(|| {
                recompressed.clear();
                recompress(&batch, &mut tools, &mut recompressed);
                black_box(&recompressed);
            });
        });
    }
    group.finish();
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
