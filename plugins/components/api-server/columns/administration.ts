/** Columns of what administrators set up: storage, scheduling, admission, certificates, flow control, devices, extension. */
import type {
  APIService,
  CertificateSigningRequest,
  CSIDriver,
  CSINode,
  DeviceClass,
  FlowSchema,
  MutatingAdmissionPolicy,
  MutatingAdmissionPolicyBinding,
  MutatingWebhookConfiguration,
  PriorityClass,
  PriorityLevelConfiguration,
  ResourceClaimTemplate,
  ResourceSlice,
  ResourceV1ResourceClaim,
  RuntimeClass,
  StorageClass,
  ValidatingAdmissionPolicy,
  ValidatingAdmissionPolicyBinding,
  ValidatingWebhookConfiguration,
  VolumeAttachment,
  VolumeAttributesClass,
} from '../../../../kernel/contract/kubernetes.ts';
import {
  ageColumn,
  ageOf,
  humanDuration,
  integer,
  nameColumn,
  orNone,
  table,
  text,
  type ColumnTable,
} from './column.ts';

const boolean = (name: string): { readonly name: string; readonly type: 'boolean' } => ({ name, type: 'boolean' });

function paramKind(kind: { readonly apiVersion?: string; readonly kind?: string } | undefined): string {
  return kind === undefined ? '<unset>' : `${kind.apiVersion ?? ''}/${kind.kind ?? ''}`;
}

function paramRef(reference: { readonly namespace?: string; readonly name?: string } | undefined): string {
  if (reference === undefined) return '<unset>';
  return reference.namespace === undefined ? (reference.name ?? '') : `${reference.namespace}/${reference.name ?? '*'}`;
}

function requestCondition(request: CertificateSigningRequest): string {
  const has = (type: string): boolean =>
    request.status?.conditions?.some((condition) => condition.type === type) ?? false;
  const parts = [has('Denied') ? 'Denied' : has('Approved') ? 'Approved' : 'Pending'];
  if (has('Failed')) parts.push('Failed');
  if (request.status?.certificate !== undefined && request.status.certificate !== '') parts.push('Issued');
  return parts.join(',');
}

export const administrationColumns: ColumnTable = {
  'storage.k8s.io/storageclasses': table<StorageClass>(
    [
      nameColumn,
      text('Provisioner'),
      text('ReclaimPolicy'),
      text('VolumeBindingMode'),
      boolean('AllowVolumeExpansion'),
      ageColumn,
    ],
    (storage, now) => [
      storage.metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true'
        ? `${storage.metadata.name ?? ''} (default)`
        : storage.metadata.name,
      storage.provisioner,
      storage.reclaimPolicy ?? 'Delete',
      storage.volumeBindingMode ?? 'Immediate',
      storage.allowVolumeExpansion ?? false,
      ageOf(storage, now),
    ],
  ),
  'storage.k8s.io/volumeattachments': table<VolumeAttachment>(
    [nameColumn, text('Attacher'), text('PV'), text('Node'), boolean('Attached'), ageColumn],
    (attachment, now) => [
      attachment.metadata.name,
      attachment.spec.attacher,
      attachment.spec.source.persistentVolumeName ?? '',
      attachment.spec.nodeName,
      attachment.status?.attached ?? false,
      ageOf(attachment, now),
    ],
  ),
  'storage.k8s.io/volumeattributesclasses': table<VolumeAttributesClass>(
    [nameColumn, text('DriverName'), ageColumn],
    (one, now) => [one.metadata.name, one.driverName, ageOf(one, now)],
  ),
  'storage.k8s.io/csinodes': table<CSINode>([nameColumn, integer('Drivers'), ageColumn], (node, now) => [
    node.metadata.name,
    node.spec.drivers.length,
    ageOf(node, now),
  ]),
  'storage.k8s.io/csidrivers': table<CSIDriver>(
    [
      nameColumn,
      boolean('AttachRequired'),
      boolean('PodInfoOnMount'),
      boolean('StorageCapacity'),
      text('TokenRequests'),
      boolean('RequiresRepublish'),
      text('Modes'),
      ageColumn,
    ],
    (driver, now) => [
      driver.metadata.name,
      driver.spec.attachRequired ?? true,
      driver.spec.podInfoOnMount ?? false,
      driver.spec.storageCapacity ?? false,
      (driver.spec.tokenRequests ?? []).map((request) => request.audience).join(',') || '<unset>',
      driver.spec.requiresRepublish ?? false,
      orNone((driver.spec.volumeLifecycleModes ?? []).join(',')),
      ageOf(driver, now),
    ],
  ),
  'scheduling.k8s.io/priorityclasses': table<PriorityClass>(
    [nameColumn, integer('Value'), boolean('Global-Default'), ageColumn, text('PreemptionPolicy')],
    (priority, now) => [
      priority.metadata.name,
      priority.value,
      priority.globalDefault ?? false,
      ageOf(priority, now),
      priority.preemptionPolicy ?? 'PreemptLowerPriority',
    ],
  ),
  'node.k8s.io/runtimeclasses': table<RuntimeClass>([nameColumn, text('Handler'), ageColumn], (runtime, now) => [
    runtime.metadata.name,
    runtime.handler,
    ageOf(runtime, now),
  ]),
  'certificates.k8s.io/certificatesigningrequests': table<CertificateSigningRequest>(
    [nameColumn, ageColumn, text('SignerName'), text('Requestor'), text('RequestedDuration'), text('Condition')],
    (request, now) => [
      request.metadata.name,
      ageOf(request, now),
      orNone(request.spec.signerName),
      request.spec.username ?? '',
      request.spec.expirationSeconds === undefined ? '<none>' : humanDuration(request.spec.expirationSeconds * 1000),
      requestCondition(request),
    ],
  ),
  'admissionregistration.k8s.io/mutatingwebhookconfigurations': table<MutatingWebhookConfiguration>(
    [nameColumn, integer('Webhooks'), ageColumn],
    (one, now) => [one.metadata.name, one.webhooks?.length ?? 0, ageOf(one, now)],
  ),
  'admissionregistration.k8s.io/validatingwebhookconfigurations': table<ValidatingWebhookConfiguration>(
    [nameColumn, integer('Webhooks'), ageColumn],
    (one, now) => [one.metadata.name, one.webhooks?.length ?? 0, ageOf(one, now)],
  ),
  'admissionregistration.k8s.io/validatingadmissionpolicies': table<ValidatingAdmissionPolicy>(
    [nameColumn, integer('Validations'), text('ParamKind'), ageColumn],
    (policy, now) => [
      policy.metadata.name,
      policy.spec?.validations?.length ?? 0,
      paramKind(policy.spec?.paramKind),
      ageOf(policy, now),
    ],
  ),
  'admissionregistration.k8s.io/mutatingadmissionpolicies': table<MutatingAdmissionPolicy>(
    [nameColumn, integer('Mutations'), text('ParamKind'), ageColumn],
    (policy, now) => [
      policy.metadata.name,
      policy.spec?.mutations?.length ?? 0,
      paramKind(policy.spec?.paramKind),
      ageOf(policy, now),
    ],
  ),
  'admissionregistration.k8s.io/validatingadmissionpolicybindings': table<ValidatingAdmissionPolicyBinding>(
    [nameColumn, text('PolicyName'), text('ParamRef'), ageColumn],
    (binding, now) => [
      binding.metadata.name,
      binding.spec?.policyName ?? '',
      paramRef(binding.spec?.paramRef),
      ageOf(binding, now),
    ],
  ),
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': table<MutatingAdmissionPolicyBinding>(
    [nameColumn, text('PolicyName'), text('ParamRef'), ageColumn],
    (binding, now) => [
      binding.metadata.name,
      binding.spec?.policyName ?? '',
      paramRef(binding.spec?.paramRef),
      ageOf(binding, now),
    ],
  ),
  'apiregistration.k8s.io/apiservices': table<APIService>(
    [nameColumn, text('Service'), text('Available'), ageColumn],
    (service, now) => {
      const target = service.spec?.service;
      const available = service.status?.conditions?.find((condition) => condition.type === 'Available');
      return [
        service.metadata.name,
        target === undefined ? 'Local' : `${target.namespace ?? ''}/${target.name ?? ''}`,
        available === undefined
          ? 'Unknown'
          : available.status === 'True'
            ? 'True'
            : `${available.status} (${available.reason ?? ''})`,
        ageOf(service, now),
      ];
    },
  ),
  'flowcontrol.apiserver.k8s.io/flowschemas': table<FlowSchema>(
    [
      nameColumn,
      text('PriorityLevel'),
      integer('MatchingPrecedence'),
      text('DistinguisherMethod'),
      ageColumn,
      text('MissingPL'),
    ],
    (schema, now) => {
      const dangling = schema.status?.conditions?.find((condition) => condition.type === 'Dangling');
      return [
        schema.metadata.name,
        schema.spec?.priorityLevelConfiguration.name ?? '',
        schema.spec?.matchingPrecedence ?? 0,
        orNone(schema.spec?.distinguisherMethod?.type),
        ageOf(schema, now),
        dangling?.status ?? '?',
      ];
    },
  ),
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations': table<PriorityLevelConfiguration>(
    [
      nameColumn,
      text('Type'),
      text('NominalConcurrencyShares'),
      text('Queues'),
      text('HandSize'),
      text('QueueLengthLimit'),
      ageColumn,
    ],
    (level, now) => {
      const queuing = level.spec?.limited?.limitResponse?.queuing;
      const number = (value: number | undefined): string => (value === undefined ? '<none>' : String(value));
      return [
        level.metadata.name,
        level.spec?.type ?? '',
        number(level.spec?.limited?.nominalConcurrencyShares),
        number(queuing?.queues),
        number(queuing?.handSize),
        number(queuing?.queueLengthLimit),
        ageOf(level, now),
      ];
    },
  ),
  'resource.k8s.io/resourceclaims': table<ResourceV1ResourceClaim>(
    [nameColumn, text('State'), ageColumn],
    (claim, now) => {
      const states: string[] = [];
      if (claim.metadata.deletionTimestamp !== undefined) states.push('deleted');
      if (claim.status?.allocation === undefined) {
        if (claim.metadata.deletionTimestamp === undefined) states.push('pending');
      } else {
        states.push('allocated');
        if ((claim.status.reservedFor?.length ?? 0) > 0) states.push('reserved');
      }
      return [claim.metadata.name, states.join(','), ageOf(claim, now)];
    },
  ),
  'resource.k8s.io/resourceclaimtemplates': table<ResourceClaimTemplate>([nameColumn, ageColumn], (template, now) => [
    template.metadata.name,
    ageOf(template, now),
  ]),
  'resource.k8s.io/deviceclasses': table<DeviceClass>([nameColumn, ageColumn], (one, now) => [
    one.metadata.name,
    ageOf(one, now),
  ]),
  'resource.k8s.io/resourceslices': table<ResourceSlice>(
    [nameColumn, text('Node'), text('Driver'), text('Pool'), ageColumn],
    (slice, now) => [
      slice.metadata.name,
      slice.spec.nodeName ?? '<unset>',
      slice.spec.driver,
      slice.spec.pool.name,
      ageOf(slice, now),
    ],
  ),
};
