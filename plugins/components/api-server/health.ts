/** /livez, /readyz and /healthz: the cluster's checks, in the text form of kube-apiserver. */
import { noSuchPath } from './status.ts';

export interface Check {
  readonly name: string;
  readonly failure: string | undefined;
}

export interface HealthAnswer {
  readonly status: number;
  readonly text: string;
}

export const healthRoots = ['livez', 'readyz', 'healthz'] as const;

/** `segments`: ["readyz"] or ["readyz", check]. */
export function healthAnswer(
  segments: readonly string[],
  query: URLSearchParams,
  checks: readonly Check[],
): HealthAnswer {
  const [root = '', wanted, ...more] = segments;
  if (more.length > 0) throw noSuchPath();
  if (wanted !== undefined) {
    const check = checks.find((entry) => entry.name === wanted);
    if (check === undefined) throw noSuchPath();
    return check.failure === undefined
      ? { status: 200, text: 'ok' }
      : { status: 500, text: `internal server error: ${check.failure}\n` };
  }
  const excluded = new Set(query.getAll('exclude'));
  const lines: string[] = [];
  let isFailed = false;
  for (const check of checks) {
    if (excluded.delete(check.name)) lines.push(`[+]${check.name} excluded: ok`);
    else if (check.failure === undefined) lines.push(`[+]${check.name} ok`);
    else {
      isFailed = true;
      lines.push(`[-]${check.name} failed: ${check.failure}`);
    }
  }
  if (excluded.size > 0)
    lines.push(
      `warn: some health checks cannot be excluded: no matches for ${[...excluded].map((name) => JSON.stringify(name)).join(',')}`,
    );
  if (isFailed) return { status: 500, text: `${lines.join('\n')}\n${root} check failed\n` };
  return { status: 200, text: query.has('verbose') ? `${lines.join('\n')}\n${root} check passed\n` : 'ok' };
}
