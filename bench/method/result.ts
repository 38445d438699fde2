/**
 * The result of a run, as it is written to a file: raw samples of every round, and all that is needed to judge them.
 * This schema is the documentation of the format (`pintle bench schema` prints it as JSON Schema).
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { PintleError } from '../../kernel/contract/errors.ts';

export const resultFormat = 'pintle.dev/bench/v1';

const fact = z.union([z.string(), z.number(), z.boolean()]);
const facts = z.record(z.string(), fact);

const metric = z.strictObject({
  id: z.string(),
  title: z.string(),
  unit: z.string().describe('of the samples; empty for pieces'),
  better: z.enum(['more', 'less']),
  compare: z
    .enum(['ratio', 'difference'])
    .describe('how a cell is set beside its baseline: as a share, or (values that may be 0) as a difference'),
  leastChange: z
    .number()
    .describe('what `compare` takes for noise at most: a share (0.1: 10 %), or for differences an amount in the unit'),
  group: z.string().describe('metrics of one chart'),
  headline: z.boolean().describe('in the first table of the report'),
});

const sample = z.strictObject({ round: z.int().min(1), value: z.number() });

const cell = z.strictObject({
  id: z.string(),
  factors: z.record(z.string(), z.string()),
  baseline: z.string().optional().describe('id of the cell that this one is a share of, measured in the same rounds'),
  isBaseline: z.boolean(),
  contest: z.string().describe('cells of the same contest may beat each other: they do the same work'),
  state: z
    .enum(['measured', 'broken', 'skipped', 'pending'])
    .describe(
      'broken: failed its behaviour check, or failed twice in one round, and has no figure; skipped: this machine ' +
        'cannot; pending: interrupted',
    ),
  reason: z.string().optional(),
  checks: z.array(z.strictObject({ name: z.string(), ok: z.boolean(), detail: z.string() })),
  facts: facts.describe('what the cell is, apart from how fast: MTU, devices, rule counts'),
  leftBehind: z.array(z.string()).describe('what was still there after the clean-up; empty: clean'),
  failedTries: z
    .array(z.strictObject({ round: z.int().min(1), reason: z.string() }))
    .optional()
    .describe('set-ups and measurements that failed; each was tried once more in its round, on a fresh bed'),
  samples: z.record(z.string(), z.array(sample)).describe('by metric id'),
});

const suite = z.strictObject({
  name: z.string(),
  title: z.string(),
  summary: z.string(),
  rounds: z.int(),
  size: z.string(),
  options: facts,
  metrics: z.array(metric),
  cells: z.array(cell),
  seconds: z.number(),
});

export const resultSchema = z.strictObject({
  format: z.literal(resultFormat),
  startedAt: z.string(),
  finishedAt: z.string(),
  complete: z.boolean().describe('false: interrupted; what had been measured is kept'),
  command: z.array(z.string()),
  machine: facts,
  versions: z.record(z.string(), z.string()),
  configs: z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .optional()
    .describe("plugins' settings by kind/name, as the config file gave them; what is not named had its defaults"),
  loadBefore: z.array(z.number()),
  loadAfter: z.array(z.number()),
  suites: z.array(suite),
});

export type Fact = z.infer<typeof fact>;
export type Metric = z.infer<typeof metric>;
export type Sample = z.infer<typeof sample>;
export type CellResult = z.infer<typeof cell>;
export type SuiteResult = z.infer<typeof suite>;
export type Result = z.infer<typeof resultSchema>;

export function readResult(file: string): Result {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new PintleError('BENCH_INVALID', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const parsed = resultSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new PintleError(
    'BENCH_INVALID',
    `${file} is no result of \`pintle bench\` (${resultFormat}): ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
  );
}
