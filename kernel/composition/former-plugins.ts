/**
 * Plugins whose work outlives their process (data plane, workloads) and that the config no longer names: what they left on
 * this host is removed before their successors start. Which ran here last is on record in the process's state folder.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Kind, Logger } from '../contract/index.ts';
import type { Catalogue } from '../registry/catalogue.ts';
import { kindFacts } from '../registry/kind-facts.ts';
import { LifeCycle, type LifeCycleOptions } from '../registry/life-cycle.ts';
import type { Candidate } from '../registry/plan.ts';
import { Report } from '../registry/report.ts';

/** One that has run here, with its config as it was validated. */
export interface Lasting {
  readonly kind: Kind;
  readonly name: string;
  readonly config: unknown;
}

const fileName = 'lasting-plugins.json';
/** Traffic first, then what it went to. */
const order: readonly Kind[] = ['proxy', 'overlay', 'attachment', 'runtime'];

export interface Successors {
  readonly plan: readonly Candidate[];
  readonly catalogue: Catalogue;
  readonly lifeCycle: Omit<LifeCycleOptions, 'report'>;
}

/** Those on record in the state folder of an agent: what runs there, and what could not be removed yet. */
export const lastingPlugins = (stateDir: string): readonly Lasting[] => readRecord(join(stateDir, fileName));

/** Never rejects for a former plugin's sake: one that cannot be asked any more is named in the log, and stays on record. */
export async function leaveFormerPlugins(successors: Successors): Promise<void> {
  const path = join(successors.lifeCycle.stateDir, fileName);
  const next = successors.plan.flatMap(({ plugin: { kind, name }, config }): readonly Lasting[] =>
    kindFacts[kind].leave === undefined ? [] : [{ kind, name, config }],
  );
  // A process that runs none of a kind has nothing to say of those that others run with this folder.
  const isFormer = (each: Lasting) =>
    next.some(({ kind }) => kind === each.kind) &&
    !next.some(({ kind, name }) => kind === each.kind && name === each.name);
  const known = readRecord(path);
  const stay = known.filter((each) => !isFormer(each) && !next.some(({ kind }) => kind === each.kind));
  for (const former of known.filter(isFormer).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind)))
    if (!(await leave(former, successors))) stay.push(former);
  const now = [...stay, ...next];
  if (now.length > 0 && JSON.stringify(now) !== JSON.stringify(known)) writeRecord(path, now);
}

async function leave({ kind, name, config }: Lasting, { catalogue, lifeCycle }: Successors): Promise<boolean> {
  const { log } = lifeCycle;
  const id = `${kind}/${name}`;
  const verb = kindFacts[kind].leave!;
  const item = catalogue.get(kind, name);
  if (item === undefined) return cannot(log, id, 'no plugin has this name any more');
  const report = new Report();
  report.declare(item);
  const life = new LifeCycle({ ...lifeCycle, report });
  try {
    const plugin = await item.plugin();
    let instance: object | undefined;
    await life.start(
      [{ plugin, config }],
      () => ({}),
      (_, started) => void (instance = started),
      new AbortController().signal,
    );
    await (instance as unknown as Record<string, () => Promise<void>>)[verb]!();
    log.info(`${id} ran here before and is not named any more: what it left on this host is removed`);
    return true;
  } catch (error) {
    return cannot(log, id, (error as Error).message);
  } finally {
    await life.stop().catch((error: unknown) => log.warn(`${id} did not stop in order`, { error: String(error) }));
  }
}

function cannot(log: Logger, id: string, reason: string): false {
  log.warn(
    `what ${id} left on this host stays there: ${reason}. Name it again and start once more, or remove it by hand`,
  );
  return false;
}

function readRecord(path: string): readonly Lasting[] {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as readonly Lasting[];
  } catch {
    // None yet, or of a crash while it was first written: then nothing ran.
    return [];
  }
}

function writeRecord(path: string, record: readonly Lasting[]): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}
