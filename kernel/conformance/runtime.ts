/**
 * Conformance kit of kind `runtime`: every guarantee of kernel/contract/runtime.ts as a case.
 *
 * Cases that need processes run where `real` is declared, those about limits, terminals and images where these are. The
 * cases that kill an agent need the plugin's module, because they run it in a process of its own.
 */
import type { RuntimeCapability } from '../contract/index.ts';
import { registerCases, type KitTest } from './kit.ts';
import { logCases } from './runtime/logs.ts';
import { processCases } from './runtime/processes.ts';
import { recordCases } from './runtime/records.ts';
import { recoveryCases } from './runtime/recovery.ts';
import { streamCases } from './runtime/streams.ts';
import { RuntimeSubject, type RuntimeKitOptions } from './runtime/subject.ts';

export { openRuntime } from './runtime/agent.ts';
export type { Behaviour, OpenRuntime, RuntimeKitOptions } from './runtime/subject.ts';

export function runtimeConformance(test: KitTest, options: RuntimeKitOptions): void {
  registerCases<RuntimeSubject, RuntimeCapability | 'crash'>(test, {
    name: options.name,
    capabilities: [...options.capabilities, ...(options.module === undefined ? [] : ['crash' as const])],
    cases: [...recordCases, ...recoveryCases, ...logCases, ...processCases, ...streamCases],
    subject: (t) => RuntimeSubject.open(options, t),
  });
}
