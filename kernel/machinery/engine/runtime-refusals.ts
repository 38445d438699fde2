/** What every runtime says of the same wrong calls, in the same words. */
import { PintleError, isPintleError, type ContainerSpec } from '../../contract/index.ts';
import { startMessage } from './start-failure.ts';

export const containerNotFound = (id: string): PintleError =>
  new PintleError('CONTAINER_NOT_FOUND', `container ${id} does not exist on this node`);

export const containerNotRunning = (name: string, state: string): PintleError =>
  new PintleError('CONTAINER_NOT_RUNNING', `container ${name} does not run: it is ${state}`);

/** A container for a sandbox that is not there, or is there but stopped. */
export const sandboxNotReady = ({ name, sandboxId }: ContainerSpec, isThere: boolean): PintleError =>
  new PintleError(
    'SANDBOX_NOT_FOUND',
    `container ${name}: sandbox ${sandboxId} ${isThere ? 'is stopped' : 'does not exist'}: ensure it first`,
  );

/** What an engine refused, in its words; an error of ours stays what it is. */
export function refusedByEngine(subject: string, cause: unknown, text: string): PintleError {
  if (isPintleError(cause) && cause.code !== 'CONTAINER_INVALID') return cause;
  return new PintleError('CONTAINER_INVALID', `${subject}: ${startMessage(text)}`, { cause });
}
