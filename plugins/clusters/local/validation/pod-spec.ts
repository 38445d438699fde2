/** The spec of a pod or of a pod template. */
import type { EphemeralVolumeSource, PodSpec, Toleration, Volume } from '../../../../kernel/contract/kubernetes.ts';
import { labelKeyFaults, labelValueFaults } from '../../../../kernel/machinery/label-syntax.ts';
import { validateContainer, validateResources } from './container.ts';
import type { FieldErrors } from './field-errors.ts';
import { labelFaults, subdomainFaults } from './names.ts';
import { validatePodPlacement } from './pod-placement.ts';

function validateEphemeral({ volumeClaimTemplate }: EphemeralVolumeSource, field: string, errors: FieldErrors): void {
  const place = `${field}.volumeClaimTemplate`;
  const { spec } = volumeClaimTemplate ?? {};
  if (!spec) {
    errors.required(place);
    return;
  }
  if (!spec.accessModes?.length) errors.required(`${place}.spec.accessModes`, 'at least 1 access mode is required');
  if (!spec.resources?.requests?.['storage']) errors.required(`${place}.spec.resources[storage]`);
}

function validateVolumes(volumes: readonly Volume[], field: string, errors: FieldErrors): Set<string> {
  const names = new Set<string>();
  for (const [index, volume] of volumes.entries()) {
    const place = `${field}[${index}]`;
    if (!volume.name) errors.required(`${place}.name`);
    else {
      errors.faults(`${place}.name`, volume.name, labelFaults(volume.name));
      if (names.has(volume.name)) errors.duplicate(`${place}.name`, volume.name);
      names.add(volume.name);
    }
    const [source, ...more] = Object.entries(volume).filter(([key, value]) => key !== 'name' && value !== undefined);
    if (!source) errors.required(place, 'must specify a volume type');
    for (const [name] of more) errors.forbidden(`${place}.${name}`, 'may not specify more than 1 volume type');
    if (volume.hostPath && !volume.hostPath.path) errors.required(`${place}.hostPath.path`);
    if (volume.hostPath?.path?.split('/').includes('..')) {
      errors.invalid(`${place}.hostPath.path`, volume.hostPath.path, "must not contain '..'");
    }
    if (volume.secret && !volume.secret.secretName) errors.required(`${place}.secret.secretName`);
    if (volume.configMap && !volume.configMap.name) errors.required(`${place}.configMap.name`);
    if (volume.persistentVolumeClaim && !volume.persistentVolumeClaim.claimName) {
      errors.required(`${place}.persistentVolumeClaim.claimName`);
    }
    if (volume.ephemeral) validateEphemeral(volume.ephemeral, `${place}.ephemeral`, errors);
  }
  return names;
}

function validateTolerations(tolerations: readonly Toleration[], field: string, errors: FieldErrors): void {
  for (const [index, toleration] of tolerations.entries()) {
    const place = `${field}[${index}]`;
    const operator = toleration.operator || 'Equal';
    if (toleration.key) errors.faults(`${place}.key`, toleration.key, labelKeyFaults(toleration.key));
    else if (operator !== 'Exists') {
      errors.invalid(
        `${place}.operator`,
        toleration.operator ?? '',
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      );
    }
    if (toleration.tolerationSeconds !== undefined && toleration.effect !== 'NoExecute') {
      errors.invalid(
        `${place}.effect`,
        toleration.effect ?? '',
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
      );
    }
    if (operator === 'Exists' && toleration.value) {
      errors.invalid(`${place}.operator`, toleration.value, "value must be empty when `operator` is 'Exists'");
    }
    if (operator === 'Equal' && toleration.value) {
      errors.faults(`${place}.value`, toleration.value, labelValueFaults(toleration.value));
    }
  }
}

function validateNodeAffinity(spec: PodSpec, field: string, errors: FieldErrors): void {
  const { requiredDuringSchedulingIgnoredDuringExecution: required } = spec.affinity?.nodeAffinity ?? {};
  if (!required) return;
  const place = `${field}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`;
  if (!required.nodeSelectorTerms?.length) errors.required(place, 'must have at least one node selector term');
  for (const [index, term] of (required.nodeSelectorTerms ?? []).entries()) {
    for (const [at, expression] of (term.matchExpressions ?? []).entries()) {
      const where = `${place}[${index}].matchExpressions[${at}]`;
      errors.faults(`${where}.key`, expression.key, labelKeyFaults(expression.key));
      const count = expression.values?.length ?? 0;
      const { operator } = expression;
      if ((operator === 'In' || operator === 'NotIn') && count === 0) {
        errors.required(`${where}.values`, "must be specified when `operator` is 'In' or 'NotIn'");
      } else if ((operator === 'Exists' || operator === 'DoesNotExist') && count > 0) {
        errors.forbidden(`${where}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
      } else if ((operator === 'Gt' || operator === 'Lt') && count !== 1) {
        errors.required(`${where}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'");
      }
    }
  }
}

/** `moreVolumes`: names of volumes that every pod of the template gets beside its own. */
export function validatePodSpec(
  spec: PodSpec,
  field: string,
  errors: FieldErrors,
  moreVolumes: readonly string[] = [],
): void {
  const volumes = validateVolumes(spec.volumes ?? [], `${field}.volumes`, errors);
  for (const name of moreVolumes) volumes.add(name);
  const around = {
    volumes,
    hostNetwork: spec.hostNetwork === true,
    graceSeconds: spec.terminationGracePeriodSeconds ?? 30,
    names: new Set<string>(),
    hostPorts: new Set<string>(),
  };
  if (!spec.containers?.length) errors.required(`${field}.containers`);
  for (const [index, container] of (spec.containers ?? []).entries()) {
    validateContainer(container, `${field}.containers[${index}]`, false, around, errors);
  }
  for (const [index, container] of (spec.initContainers ?? []).entries()) {
    validateContainer(container, `${field}.initContainers[${index}]`, true, around, errors);
  }
  validateResources(spec.resources, `${field}.resources`, errors);
  errors.oneOf(`${field}.restartPolicy`, spec.restartPolicy, ['Always', 'OnFailure', 'Never']);
  errors.oneOf(`${field}.dnsPolicy`, spec.dnsPolicy, ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']);
  if (spec.dnsPolicy === 'None' && !spec.dnsConfig?.nameservers?.length) {
    errors.required(
      `${field}.dnsConfig.nameservers`,
      'must provide at least one DNS nameserver when `dnsPolicy` is None',
    );
  }
  errors.nonNegative(`${field}.terminationGracePeriodSeconds`, spec.terminationGracePeriodSeconds);
  errors.range(`${field}.activeDeadlineSeconds`, spec.activeDeadlineSeconds, 1, 2 ** 31 - 1);
  for (const [key, value] of Object.entries(spec.nodeSelector ?? {})) {
    errors.faults(`${field}.nodeSelector`, key, labelKeyFaults(key));
    errors.faults(`${field}.nodeSelector`, value, labelValueFaults(value));
  }
  validateTolerations(spec.tolerations ?? [], `${field}.tolerations`, errors);
  validateNodeAffinity(spec, field, errors);
  validatePodPlacement(spec, field, errors);
  if (spec.nodeName) errors.faults(`${field}.nodeName`, spec.nodeName, subdomainFaults(spec.nodeName));
  if (spec.hostname) errors.faults(`${field}.hostname`, spec.hostname, labelFaults(spec.hostname));
  if (spec.subdomain) errors.faults(`${field}.subdomain`, spec.subdomain, labelFaults(spec.subdomain));
  if (spec.serviceAccountName) {
    errors.faults(`${field}.serviceAccountName`, spec.serviceAccountName, subdomainFaults(spec.serviceAccountName));
  }
  if (spec.hostPID && spec.shareProcessNamespace) {
    errors.invalid(`${field}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled');
  }
}
