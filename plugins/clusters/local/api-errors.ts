/** The API's errors in the words of Kubernetes: clients, and people, know them. */
import { PintleError } from '../../../kernel/contract/index.ts';
import type { Cause, ResourceType } from '../../../kernel/contract/index.ts';

type Named = Pick<ResourceType, 'group' | 'resource' | 'kind'>;

/** "deployments.apps" */
export function qualifiedResource(type: Pick<ResourceType, 'group' | 'resource'>): string {
  return type.group ? `${type.resource}.${type.group}` : type.resource;
}

function details(type: Named, name: string): { group: string; resource: string; kind: string; name: string } {
  return { group: type.group, resource: type.resource, kind: type.kind, name };
}

export function notFound(type: Named, name: string): PintleError {
  return new PintleError('NOT_FOUND', `${qualifiedResource(type)} "${name}" not found`, {
    details: details(type, name),
  });
}

export function unknownResource(): PintleError {
  return new PintleError('NOT_FOUND', 'the server could not find the requested resource');
}

export function alreadyExists(type: Named, name: string): PintleError {
  return new PintleError('ALREADY_EXISTS', `${qualifiedResource(type)} "${name}" already exists`, {
    details: details(type, name),
  });
}

const modifiedMessage = 'the object has been modified; please apply your changes to the latest version and try again';

export function conflict(type: Named, name: string, message: string = modifiedMessage): PintleError {
  return new PintleError(
    'CONFLICT',
    `Operation cannot be fulfilled on ${qualifiedResource(type)} "${name}": ${message}`,
    { details: details(type, name) },
  );
}

export function forbidden(type: Named, name: string, message: string, causes?: readonly Cause[]): PintleError {
  return new PintleError('FORBIDDEN', `${qualifiedResource(type)} "${name}" is forbidden: ${message}`, {
    details: { ...details(type, name), ...(causes && { causes }) },
  });
}

export function invalid(type: Named, name: string, causes: readonly Cause[]): PintleError {
  const kind = type.group ? `${type.kind}.${type.group}` : type.kind;
  const texts = causes.map((cause) => (cause.field ? `${cause.field}: ${cause.message}` : cause.message));
  const text = texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
  return new PintleError('INVALID', `${kind} "${name}" is invalid: ${text}`, {
    details: { ...details(type, name), causes },
  });
}

export function methodNotAllowed(type: Named, verb: string): PintleError {
  return new PintleError(
    'METHOD_NOT_ALLOWED',
    `${verb} is not supported on resources of kind "${qualifiedResource(type)}"`,
    {
      details: details(type, ''),
    },
  );
}

export function badRequest(message: string): PintleError {
  return new PintleError('BAD_REQUEST', message);
}
