/** serviceaccounts/token: a token for a service account, bound to a pod, a secret or a node when one is named. */
import type { KubernetesObject, ObjectKey, UserInfo, WriteOptions } from '../../../../../kernel/contract/index.ts';
import type { Node, Pod, Secret, ServiceAccount, TokenRequest } from '../../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../../kernel/machinery/resources.ts';
import type { Binding, ServiceAccountTokens } from '../../access/service-account-tokens.ts';
import { badRequest, conflict, forbidden, invalid, notFound } from '../../api-errors.ts';
import { timestamp, type Engine, type Stored } from '../../engine.ts';
import { bodyOf } from '../../shape.ts';
import { deepFreeze } from '../../state/frozen-json.ts';
import { FieldErrors } from '../../validation/field-errors.ts';

const tokenRequestType = {
  group: 'authentication.k8s.io',
  apiVersion: 'authentication.k8s.io/v1',
  kind: 'TokenRequest',
  schemaType: 'authentication/v1.TokenRequest',
};
const minSeconds = 600;
const maxSeconds = 2 ** 32;

export function requestToken(
  engine: Engine,
  accounts: Stored,
  tokens: ServiceAccountTokens,
  parent: ObjectKey,
  body: KubernetesObject,
  options: WriteOptions,
): KubernetesObject {
  const request = bodyOf<TokenRequest>(tokenRequestType, body, options);
  const account = accounts.storage.collection.get(engine.key(accounts, parent)) as ServiceAccount | undefined;
  if (account === undefined) throw notFound(accounts.served, parent.name);
  const spec = request.spec ?? {};
  const seconds = spec.expirationSeconds ?? 3600;
  const errors = new FieldErrors();
  if (seconds < minSeconds)
    errors.invalid('spec.expirationSeconds', seconds, 'may not specify a duration less than 10 minutes');
  if (seconds > maxSeconds)
    errors.invalid('spec.expirationSeconds', seconds, 'may not specify a duration larger than 2^32 seconds');
  if (!errors.isEmpty) throw invalid({ ...tokenRequestType, resource: '' }, parent.name, errors.causes);
  const audiences = spec.audiences?.length ? spec.audiences : [tokens.issuer];
  const binding = bindingOf(engine, account, spec.boundObjectRef);
  checkNode(options.user, binding, parent.name);
  const { token, endsMs } = tokens.issue(binding, audiences, seconds);
  return deepFreeze({
    apiVersion: tokenRequestType.apiVersion,
    kind: tokenRequestType.kind,
    metadata: { name: account.metadata.name, namespace: account.metadata.namespace } as TokenRequest['metadata'],
    spec: { ...spec, audiences, expirationSeconds: seconds },
    status: { token, expirationTimestamp: timestamp(endsMs) },
  } as KubernetesObject);
}

function bindingOf(
  engine: Engine,
  account: ServiceAccount,
  reference: TokenRequest['spec']['boundObjectRef'],
): Binding {
  if (reference === undefined) return { account };
  const { kind, name = '', uid } = reference;
  const { find } = engine.context({});
  const key = { namespace: account.metadata.namespace!, name };
  const type = kind === 'Pod' ? resources.pods : kind === 'Secret' ? resources.secrets : resources.nodes;
  if (kind !== 'Pod' && kind !== 'Secret' && kind !== 'Node')
    throw badRequest(`cannot bind token to object of type ${reference.apiVersion ?? ''}, Kind=${kind ?? ''}`);
  const object: Pod | Secret | Node | undefined = find<Pod | Secret | Node>(
    type as never,
    kind === 'Node' ? { name } : key,
  );
  if (object === undefined) throw notFound(type, name);
  if (uid && uid !== object.metadata.uid) {
    throw conflict(
      type,
      name,
      `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  }
  const held = { name: object.metadata.name, uid: object.metadata.uid };
  if (kind === 'Secret') return { account, secret: held };
  if (kind === 'Node') return { account, node: held };
  const pod = object as Pod;
  if (pod.spec.serviceAccountName !== account.metadata.name) {
    throw badRequest(
      `cannot bind token for serviceaccount "${account.metadata.name}" to pod running with different serviceaccount name.`,
    );
  }
  const node = pod.spec.nodeName ? find(resources.nodes, { name: pod.spec.nodeName }) : undefined;
  return { account, pod, node: node && { name: node.metadata.name, uid: node.metadata.uid } };
}

/** A node gets tokens for the pods that it runs, and for nobody else (upstream's NodeRestriction). */
function checkNode(user: UserInfo | undefined, { pod }: Binding, accountName: string): void {
  if (user === undefined || !user.groups.includes('system:nodes')) return;
  if (pod !== undefined && user.name === `system:node:${pod.spec.nodeName ?? ''}`) return;
  throw forbidden(
    resources.serviceAccounts,
    accountName,
    'node requested token that is not bound to a pod running on it',
  );
}
