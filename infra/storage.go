package infra

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	storagev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/storage/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Storage is the storage class of a cluster on AWS, its default.
type Storage struct {
	pulumi.ResourceState

	Class pulumi.StringOutput
}

// StorageArgs say how volumes are encrypted.
type StorageArgs struct {
	Name   string
	KeyARN pulumi.StringInput
	Labels pulumi.StringMap
}

// NewStorage makes the class: gp3, encrypted with the environment's key, in the zone of the pod that asks. A volume outlives its claim, so that nobody
// deletes a database by deleting a name.
func NewStorage(ctx *pulumi.Context, name string, args *StorageArgs, opts ...pulumi.ResourceOption) (*Storage, error) {
	s := &Storage{}
	if err := ctx.RegisterComponentResource("assistant:platform:Storage", name, s, opts...); err != nil {
		return nil, fmt.Errorf("register storage %s: %w", name, err)
	}
	class, err := storagev1.NewStorageClass(ctx, args.Name, &storagev1.StorageClassArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name: pulumi.String(args.Name), Labels: args.Labels,
			Annotations: pulumi.StringMap{"storageclass.kubernetes.io/is-default-class": pulumi.String("true")},
		},
		Provisioner: pulumi.String("ebs.csi.aws.com"),
		Parameters: pulumi.StringMap{
			"type": pulumi.String("gp3"), "encrypted": pulumi.String("true"), "kmsKeyId": args.KeyARN, "csi.storage.k8s.io/fstype": pulumi.String("ext4"),
		},
		ReclaimPolicy:        pulumi.String("Retain"),
		VolumeBindingMode:    pulumi.String("WaitForFirstConsumer"),
		AllowVolumeExpansion: pulumi.Bool(true),
	}, pulumi.Parent(s))
	if err != nil {
		return nil, fmt.Errorf("make storage class %s: %w", args.Name, err)
	}
	s.Class = class.Metadata.Name().Elem()
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"class": s.Class})
}
