/** Which certificates the API server needs and for whom, and their renewal while it runs. */
import { join } from 'node:path';
import { hostname } from 'node:os';
import { openCertificateStore, writeWhole } from './certificate-store.ts';
import { firstAddress } from './first-address.ts';
import type { KeyAndCertificate, LeafRequest } from './issue-certificate.ts';
import { PintleError, type ClusterFacts } from '../../../../kernel/contract/index.ts';
import { kubeconfig } from './kubeconfig.ts';

export interface CertificateOptions {
  readonly stateDir: string;
  readonly lifetimeMs: number;
  /** Further DNS names and addresses of the serving certificate. */
  readonly extraNames: readonly string[];
  /** Nodes that shall have a client certificate. */
  readonly nodes: readonly string[];
  readonly now: () => number;
}

export interface ClusterCertificates {
  readonly authority: string;
  readonly serving: KeyAndCertificate;
  readonly admin: KeyAndCertificate;
  /** By node name. */
  readonly nodes: ReadonlyMap<string, KeyAndCertificate>;
}

const adminRequest = {
  commonName: 'pintle-admin',
  organizations: ['system:masters'],
  usage: 'client',
  names: [],
} as const;

/** Names that the server has from its cluster's facts. */
export const namesInCluster = ({ dnsDomain, serviceCidrs }: ClusterFacts): readonly string[] => [
  `kubernetes.default.svc.${dnsDomain}`,
  ...serviceCidrs.map(firstAddress),
];

/** What every client of the cluster may call the server, beside names of the configuration. */
function servingNames(extra: readonly string[]): readonly string[] {
  return [
    ...new Set([
      'localhost',
      'kubernetes',
      'kubernetes.default',
      'kubernetes.default.svc',
      hostname(),
      '127.0.0.1',
      '::1',
      ...extra,
    ]),
  ];
}

/** Loads or issues everything; `changed` tells whether something is new. */
export async function ensureCertificates(
  options: CertificateOptions,
): Promise<ClusterCertificates & { readonly changed: boolean }> {
  const store = await openCertificateStore(join(options.stateDir, 'pki'), options.now);
  const serving = await store.ensure('apiserver', {
    commonName: 'kube-apiserver',
    organizations: [],
    usage: 'server',
    names: servingNames(options.extraNames),
    lifetimeMs: options.lifetimeMs,
  });
  const admin = await store.ensure('admin', { ...adminRequest, lifetimeMs: options.lifetimeMs });
  const nodes = new Map<string, KeyAndCertificate & { readonly issued: boolean }>();
  for (const name of new Set([...options.nodes, ...(await store.nodeNames())]))
    nodes.set(name, await store.ensure(nodeFile(name), nodeRequest(name, options.lifetimeMs)));
  const changed = [serving, admin, ...nodes.values()].some(({ issued }) => issued);
  return { authority: store.authority.certificate, serving, admin, nodes, changed };
}

/** Paths of the files, for who reads them itself: they are renewed. */
export function certificatePaths(stateDir: string): {
  readonly authority: string;
  ofNode(name: string): { readonly certificate: string; readonly key: string };
} {
  const path = (file: string): string => join(stateDir, 'pki', file);
  return {
    authority: path('ca.crt'),
    ofNode: (name) => ({ certificate: path(`${nodeFile(name)}.crt`), key: path(`${nodeFile(name)}.key`) }),
  };
}

/** `<stateDir>/admin.kubeconfig`: where the CLI and users find it. */
function adminKubeconfigPath(stateDir: string): string {
  return join(stateDir, 'admin.kubeconfig');
}

/**
 * The admin's kubeconfig, whose path it answers, and `<stateDir>/pki/nodes/NAME.kubeconfig`: what the agent of that node is
 * given to join from another machine.
 */
export async function writeKubeconfigs(
  stateDir: string,
  server: string,
  certificates: ClusterCertificates,
): Promise<string> {
  const path = adminKubeconfigPath(stateDir);
  const text = kubeconfig({
    server,
    user: 'pintle-admin',
    authority: certificates.authority,
    pair: certificates.admin,
  });
  await writeWhole(path, text, 0o600);
  for (const [name, pair] of certificates.nodes) {
    const user = `system:node:${name}`;
    const own = kubeconfig({ server, user, authority: certificates.authority, pair });
    await writeWhole(join(stateDir, 'pki', `${nodeFile(name)}.kubeconfig`), own, 0o600);
  }
  return path;
}

function nodeFile(name: string): string {
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name) || name.includes('..'))
    throw new PintleError(
      'CONFIG_INVALID',
      `the node name ${JSON.stringify(name)} is not a DNS-1123 subdomain: use lower-case letters, digits, "-" and "."`,
    );
  return join('nodes', name);
}

function nodeRequest(name: string, lifetimeMs: number): LeafRequest {
  return { commonName: `system:node:${name}`, organizations: ['system:nodes'], usage: 'client', names: [], lifetimeMs };
}
