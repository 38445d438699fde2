import { isPintleError } from '../contract/index.ts';

/** Nothing can be created in a namespace that is on its way out: the answer that says so. */
export function isTerminatingNamespace(error: unknown): boolean {
  return (
    isPintleError(error, 'FORBIDDEN') &&
    (error.details.causes ?? []).some((cause) => cause.reason === 'NamespaceTerminating')
  );
}
