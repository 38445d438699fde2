/** The server's log has what nobody expected, with its stack; everything else is the client's to know. */
import type { Logger } from '../../../kernel/contract/index.ts';
import { isUnexpected } from './status.ts';

/** `what`: "watch failed: /api/v1/pods". */
export function logUnexpected(error: unknown, what: string, log: Logger): void {
  if (isUnexpected(error))
    log.error(`${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}
