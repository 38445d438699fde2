/** A kubeconfig with everything inside, so that the file can be copied. JSON is YAML, and needs no quoting rules. */
import type { KeyAndCertificate } from './issue-certificate.ts';

export interface KubeconfigFacts {
  readonly server: string;
  readonly user: string;
  readonly authority: string;
  readonly pair: KeyAndCertificate;
}

export function kubeconfig({ server, user, authority, pair }: KubeconfigFacts): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  return [
    'apiVersion: v1',
    'kind: Config',
    'clusters:',
    '- name: pintle',
    '  cluster:',
    `    server: ${JSON.stringify(server)}`,
    `    certificate-authority-data: ${base64(authority)}`,
    'users:',
    `- name: ${JSON.stringify(user)}`,
    '  user:',
    `    client-certificate-data: ${base64(pair.certificate)}`,
    `    client-key-data: ${base64(pair.key)}`,
    'contexts:',
    '- name: pintle',
    '  context:',
    '    cluster: pintle',
    `    user: ${JSON.stringify(user)}`,
    'current-context: pintle',
    'preferences: {}',
    '',
  ].join('\n');
}
