import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Role } from '../kernel/contract/index.ts';
import type { ReportRow } from '../kernel/registry/report.ts';

/** What `plugins ls` and `status` read of a running process: STATE-DIR/report.json. */
export interface ProcessReport {
  readonly role: Role;
  readonly pid: number;
  readonly nodeName?: string | undefined;
  readonly plugins: readonly ReportRow[];
}

export const reportFile = (stateDir: string): string => join(stateDir, 'report.json');

export function saveReport(stateDir: string, report: ProcessReport): void {
  const file = reportFile(stateDir);
  writeFileSync(`${file}.new`, `${JSON.stringify(report, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
