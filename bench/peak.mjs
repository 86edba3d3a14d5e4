// Loaded with --import by the benchmarks: notes the peak memory of the process when it ends.
import { appendFileSync } from 'node:fs';

process.on('exit', () => {
  const stage = process.argv[2] ?? 'node';
  appendFileSync(process.env.PAGEPIPE_BENCH_PEAKS, `${stage} ${process.resourceUsage().maxRSS}\n`);
});
