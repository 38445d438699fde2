/** What engines built on runc say when a command cannot be started. */

/** Exit code of a container that never ran, when nothing better is known. */
const neverRan = 128;

const callers = [
  'failed to create containerd task: ',
  'failed to create (?:shim )?task(?: for container)?: ',
  'failed to exec in container: ',
  'failed to start exec "[^"]*": ',
  'OCI runtime (?:exec|create|start) failed: ',
  'runc (?:create|exec|start) failed: ',
  'container_linux\\.go:\\d+: ',
  '(?:unable to start|starting) container process(?: caused)?: ',
  'exec failed: ',
];
const passedOn = new RegExp(`^(?:${callers.join('|')})+`, 'i');

/** Without the names of the programs that pass the error on. */
export function startMessage(text: string): string {
  return text
    .replace(passedOn, '')
    .replace(/: unknown$/, '')
    .trim();
}

/** As shells have it: 127 when there is no such command, 126 when it cannot be run. */
export function startExitCode(message: string): number {
  if (/executable file not found|no such file or directory/i.test(message)) return 127;
  return /permission denied|is a directory|exec format error/i.test(message) ? 126 : neverRan;
}
