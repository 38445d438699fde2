/**
 * What service accounts mean to new pods (admission plugin ServiceAccount): the account must exist, and unless it or the
 * pod declines, every container finds a token, the CA and the namespace where clients look for them. And the Secrets of the
 * old kind, whose token this server writes.
 */
import { randomInt } from 'node:crypto';
import type { Container, Pod, Secret, ServiceAccount, Volume } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { forbidden } from '../api-errors.ts';
import { deepFreeze } from '../state/frozen-json.ts';
import type { StrategyContext } from './strategy.ts';

const mountPath = '/var/run/secrets/kubernetes.io/serviceaccount';
const volumePrefix = 'kube-api-access-';
const mirrorAnnotation = 'kubernetes.io/config.mirror';
const rootCa = 'kube-root-ca.crt';
/** A minute more than an hour's worth of a token is upstream's mark of those that were asked for by nobody. */
const tokenSeconds = 3607;
const letters = 'bcdfghjklmnpqrstvwxz2456789';

/** One for all pods: it is the larger half of what most of them are. */
const accessSources = deepFreeze({
  defaultMode: 0o644,
  sources: [
    { serviceAccountToken: { expirationSeconds: tokenSeconds, path: 'token' } },
    { configMap: { name: rootCa, items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
    {
      downwardAPI: {
        items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
      },
    },
  ],
} satisfies Volume['projected']);

function mountToken(pod: Pod): void {
  const { spec } = pod;
  const hasMount = (container: Container) => container.volumeMounts?.some((mount) => mount.mountPath === mountPath);
  const without = [...(spec.initContainers ?? []), ...spec.containers].filter((container) => !hasMount(container));
  if (without.length === 0) return;
  const present = spec.volumes?.find(({ name }) => name.startsWith(volumePrefix));
  const suffix = Array.from({ length: 5 }, () => letters[randomInt(letters.length)]).join('');
  const volume = present ?? { name: `${volumePrefix}${suffix}`, projected: accessSources };
  if (!present) spec.volumes = [...(spec.volumes ?? []), volume];
  for (const container of without)
    container.volumeMounts = [...(container.volumeMounts ?? []), { name: volume.name, readOnly: true, mountPath }];
}

export function admitServiceAccount(pod: Pod, { tokens, find }: StrategyContext): void {
  const { spec, metadata } = pod;
  const name = spec.serviceAccountName || spec.serviceAccount || 'default';
  spec.serviceAccountName = name;
  // The old name of the field; clients still read it.
  spec.serviceAccount = name;
  if (tokens === undefined || metadata.annotations?.[mirrorAnnotation] !== undefined) return;
  const account = find(resources.serviceAccounts, { namespace: metadata.namespace, name });
  if (account === undefined) {
    throw forbidden(
      resources.pods,
      metadata.name,
      `error looking up service account ${metadata.namespace}/${name}: serviceaccount "${name}" not found`,
    );
  }
  if (!spec.imagePullSecrets?.length && account.imagePullSecrets?.length)
    spec.imagePullSecrets = account.imagePullSecrets.map((reference) => ({ ...reference }));
  if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true) mountToken(pod);
}

const tokenSecretType = 'kubernetes.io/service-account-token';
const nameAnnotation = 'kubernetes.io/service-account.name';
const uidAnnotation = 'kubernetes.io/service-account.uid';

/** Writes the token of a Secret whose account exists. Controller service-account comes back to those whose did not. */
export function fillTokenSecret(secret: Secret, { tokens, find }: StrategyContext): void {
  if (secret.type !== tokenSecretType || tokens === undefined) return;
  const { metadata } = secret;
  const account: ServiceAccount | undefined = find(resources.serviceAccounts, {
    namespace: metadata.namespace,
    name: metadata.annotations?.[nameAnnotation] ?? '',
  });
  if (account === undefined) return;
  const asked = metadata.annotations?.[uidAnnotation];
  if (asked !== undefined && asked !== account.metadata.uid) return;
  metadata.annotations = { ...metadata.annotations, [uidAnnotation]: account.metadata.uid };
  const encode = (text: string) => Buffer.from(text).toString('base64');
  const data: Record<string, string> = { ...secret.data };
  data['token'] ??= encode(tokens.issueLegacy(account, metadata.name));
  data['namespace'] ??= encode(metadata.namespace);
  const ca = find(resources.configMaps, { namespace: metadata.namespace, name: rootCa })?.data?.['ca.crt'];
  if (ca !== undefined) data['ca.crt'] ??= encode(ca);
  secret.data = data;
}
