/**
 * CertificateSigningRequests: who asks is what the server knows, not what the request says. The door is that of upstream's
 * admission plugins CertificateSubjectRestriction, CertificateApproval and CertificateSigning.
 */
import type {
  CertificateSigningRequest,
  CertificateSigningRequestCondition,
} from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { checkSigner } from '../access/signers.ts';
import { forbidden } from '../api-errors.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { validateSignerName } from '../validation/signer-name.ts';
import type { Strategy } from './strategy.ts';

const clientSigner = 'kubernetes.io/kube-apiserver-client';

const usages: readonly string[] = [
  ...['any', 'signing', 'digital signature', 'content commitment', 'key encipherment', 'key agreement'],
  ...['data encipherment', 'cert sign', 'crl sign', 'encipher only', 'decipher only', 'server auth', 'client auth'],
  ...['code signing', 'email protection', 's/mime', 'ipsec end system', 'ipsec tunnel', 'ipsec user', 'timestamping'],
  ...['ocsp signing', 'microsoft sgc', 'netscape sgc'],
];

const verdicts = ['Approved', 'Denied', 'Failed'];
const decisions = ['Approved', 'Denied'];

const conditionsOf = ({ status }: CertificateSigningRequest) => status?.conditions ?? [];
const ofType = (request: CertificateSigningRequest, type: string) =>
  conditionsOf(request).filter((condition) => condition.type === type);

function validateUsages(given: readonly string[] | undefined, errors: FieldErrors): void {
  if (!given?.length) errors.required('spec.usages');
  for (const [index, usage] of (given ?? []).entries()) {
    const field = `spec.usages[${index}]`;
    if (!usages.includes(usage)) errors.notSupported(field, usage, usages);
    if (given?.indexOf(usage) !== index) errors.duplicate(field, usage);
  }
}

function validateConditions(conditions: readonly CertificateSigningRequestCondition[], errors: FieldErrors): void {
  const seen = new Set<string>();
  for (const [index, { type, status }] of conditions.entries()) {
    const field = `status.conditions[${index}]`;
    if (!type) errors.required(`${field}.type`);
    else if (seen.has(type)) errors.duplicate(`${field}.type`, type);
    const isVerdict = verdicts.includes(type);
    if (!status) errors.required(`${field}.status`);
    else errors.oneOf(`${field}.status`, status, isVerdict ? ['True'] : ['True', 'False', 'Unknown']);
    if (decisions.includes(type) && decisions.some((other) => other !== type && seen.has(other)))
      errors.invalid(`${field}.type`, type, 'Approved and Denied conditions are mutually exclusive');
    seen.add(type);
  }
}

/** A verdict stays. `mayDecide`: of those of an approver, new ones may come. */
function validateVerdicts(
  request: CertificateSigningRequest,
  old: CertificateSigningRequest,
  mayDecide: boolean,
  errors: FieldErrors,
): void {
  validateConditions(conditionsOf(request), errors);
  for (const type of verdicts) {
    const more = ofType(request, type).length - ofType(old, type).length;
    if (more < 0) errors.forbidden('status.conditions', `updates may not remove a condition of type "${type}"`);
    else if (more > 0 && !mayDecide && decisions.includes(type))
      errors.forbidden('status.conditions', `updates may not add a condition of type "${type}"`);
  }
}

function fillTimes(request: CertificateSigningRequest, old: CertificateSigningRequest, now: string): void {
  for (const condition of request.status?.conditions ?? []) {
    condition.lastUpdateTime ||= now;
    const before = ofType(old, condition.type).find(({ status }) => status === condition.status);
    condition.lastTransitionTime ||= before?.lastTransitionTime || now;
  }
}

export const certificateSigningRequest: Strategy<CertificateSigningRequest> = {
  nameRule: 'path',
  prepareCreate({ spec }, { user }) {
    delete spec.username;
    delete spec.uid;
    delete spec.groups;
    delete spec.extra;
    if (!user) return;
    spec.username = user.name;
    spec.groups = [...user.groups];
    if (user.uid) spec.uid = user.uid;
    if (user.extra)
      spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
  },
  validate({ spec }, errors) {
    validateUsages(spec.usages, errors);
    if (spec.signerName === 'kubernetes.io/legacy-unknown')
      errors.invalid('spec.signerName', spec.signerName, 'the legacy signerName is not allowed via this API version');
    else validateSignerName('spec.signerName', spec.signerName, errors);
    if (spec.expirationSeconds !== undefined && spec.expirationSeconds < 600) {
      errors.invalid(
        'spec.expirationSeconds',
        spec.expirationSeconds,
        'may not specify a duration less than 600 seconds (10 minutes)',
      );
    }
  },
  async inspect({ metadata, spec }, errors) {
    const { checkRequest } = await import('../validation/certificate-request.ts');
    const checked = await checkRequest(spec.request ?? '');
    if ('fault' in checked) errors.invalid('spec.request', spec.request, checked.fault);
    else if (errors.isEmpty && spec.signerName === clientSigner && checked.organizations.includes('system:masters')) {
      const message = `use of ${clientSigner} signer with system:masters group is not allowed`;
      throw forbidden(resources.certificateSigningRequests, metadata.name, message);
    }
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    if (!sameJson(spec, old)) errors.invalid('spec', null, 'field is immutable');
  },
  prepareStatus(request, current, { access, user, timestamp }) {
    const { certificate, conditions } = current.status ?? {};
    const { status } = request;
    if (status?.certificate === certificate && sameJson(status?.conditions ?? [], conditions ?? [])) return;
    checkSigner('sign', { name: request.metadata.name, signerName: current.spec.signerName }, access, user);
    fillTimes(request, current, timestamp);
  },
  validateStatus(request, current, errors) {
    validateVerdicts(request, current, false, errors);
    const { certificate } = current.status ?? {};
    if (certificate && request.status?.certificate !== certificate)
      errors.forbidden('status.certificate', 'updates may not modify existing certificate content');
  },
  checkSubresource(name, request, current, errors, { access, user, timestamp }) {
    if (name !== 'approval') return;
    checkSigner('approve', { name: request.metadata.name, signerName: current.spec.signerName }, access, user);
    fillTimes(request, current, timestamp);
    validateVerdicts(request, current, true, errors);
  },
  fieldNames: ['spec.signerName'],
  field: ({ spec }) => spec.signerName,
};
