/** What a request asks for, in the authorizer's terms, and the refusal in kube-apiserver's words. */
import { PintleError, type AccessRequest, type ClusterServer, type UserInfo } from '../../../kernel/contract/index.ts';
import type { ResourceTarget } from './request-target.ts';

export function resourceAccess(target: ResourceTarget, verb: string, query: URLSearchParams): AccessRequest {
  const { resource, subresource, namespace } = target;
  const name = target.name ?? namedBySelector(verb, query);
  return {
    verb,
    group: resource.group,
    resource: resource.resource,
    subresource: subresource?.name,
    // Who administrates a namespace may see the namespace itself.
    namespace: resource.group === '' && resource.resource === 'namespaces' ? name : namespace,
    name,
  };
}

/** A list or watch of one object by its name is a question about that object: roles with resourceNames allow it. */
function namedBySelector(verb: string, query: URLSearchParams): string | undefined {
  if (verb !== 'list' && verb !== 'watch' && verb !== 'deletecollection') return undefined;
  return /^metadata\.name==?([^,=]+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
}

export function assertAllowed(server: ClusterServer, user: UserInfo, request: AccessRequest): void {
  const { allowed, reason } = server.authorize(user, request);
  if (allowed) return;
  const because = reason === '' ? '' : `: ${reason}`;
  const who = `User ${JSON.stringify(user.name)}`;
  if (request.path !== undefined)
    throw new PintleError(
      'FORBIDDEN',
      `forbidden: ${who} cannot ${request.verb} path ${JSON.stringify(request.path)}${because}`,
    );
  const { verb, group = '', resource = '', subresource, namespace, name } = request;
  const whole = subresource === undefined ? resource : `${resource}/${subresource}`;
  const qualified = group === '' ? resource : `${resource}.${group}`;
  const subject = name === undefined || verb === 'create' ? qualified : `${qualified} ${JSON.stringify(name)}`;
  const isInNamespace = namespace !== undefined && resource !== 'namespaces';
  const place = isInNamespace ? `in the namespace ${JSON.stringify(namespace)}` : 'at the cluster scope';
  throw new PintleError(
    'FORBIDDEN',
    `${subject} is forbidden: ${who} cannot ${verb} resource ${JSON.stringify(whole)} in API group ${JSON.stringify(group)} ${place}${because}`,
    { details: { group, resource, ...(name === undefined ? {} : { name }) } },
  );
}
