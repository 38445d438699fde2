/** What each of Kubernetes' signers asks of a certificate request, in upstream's words. Pure. */

export interface RequestedCertificate {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly emailAddresses: readonly string[];
  readonly uris: readonly string[];
}

export const signers = [
  'kubernetes.io/kube-apiserver-client',
  'kubernetes.io/kube-apiserver-client-kubelet',
  'kubernetes.io/kubelet-serving',
] as const;
export type Signer = (typeof signers)[number];

export function isSigner(name: string): name is Signer {
  return signers.some((each) => each === name);
}

/** Why the signer must not sign this; undefined: it may. */
export function refusal(signer: Signer, wanted: RequestedCertificate, usages: readonly string[]): string | undefined {
  if (signer === 'kubernetes.io/kube-apiserver-client') return clientFault(wanted, usages);
  const isServing = signer === 'kubernetes.io/kubelet-serving';
  return (
    (isServing ? servingNameFault(wanted) : clientNameFault(wanted)) ??
    kubeletFault(wanted) ??
    usageFault(usages, isServing ? 'server auth' : 'client auth')
  );
}

function clientFault({ organizations }: RequestedCertificate, usages: readonly string[]): string | undefined {
  // Upstream's door refuses such a request when it is made (CertificateSubjectRestriction).
  if (organizations.includes('system:masters'))
    return 'use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed';
  const allowed = ['digital signature', 'key encipherment', 'client auth'];
  const foreign = usages.find((usage) => !allowed.includes(usage));
  if (foreign !== undefined) return `invalid usage for client certificate: ${foreign}`;
  if (!usages.includes('client auth')) return 'missing required usage for client certificate: client auth';
  return undefined;
}

function clientNameFault(wanted: RequestedCertificate): string | undefined {
  if (wanted.dnsNames.length > 0) return 'DNS subjectAltNames are not allowed';
  if (wanted.ipAddresses.length > 0) return 'IP subjectAltNames are not allowed';
  return undefined;
}

function servingNameFault({ dnsNames, ipAddresses }: RequestedCertificate): string | undefined {
  return dnsNames.length === 0 && ipAddresses.length === 0 ? 'DNS or IP subjectAltName is required' : undefined;
}

function kubeletFault(wanted: RequestedCertificate): string | undefined {
  if (wanted.organizations.length !== 1 || wanted.organizations[0] !== 'system:nodes')
    return 'subject organization is not system:nodes';
  if (wanted.emailAddresses.length > 0) return 'Email subjectAltNames are not allowed';
  if (wanted.uris.length > 0) return 'URI subjectAltNames are not allowed';
  if (!wanted.commonName.startsWith('system:node:')) return 'subject common name does not begin with system:node:';
  return undefined;
}

function usageFault(usages: readonly string[], purpose: string): string | undefined {
  const required = ['digital signature', purpose];
  const given = new Set(usages);
  given.delete('key encipherment');
  if (given.size === required.length && required.every((usage) => given.has(usage))) return undefined;
  return `usages did not match ${required.join(', ')}`;
}
