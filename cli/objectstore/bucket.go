package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithy "github.com/aws/smithy-go"

	"github.com/smart-assistant/platform/cli/fault"
)

// ErrUnconditional says that the store takes conditional writes and does not honour their conditions.
var ErrUnconditional = errors.New("the store ignores If-None-Match or If-Match")

// EnsureBucket creates the bucket unless it exists.
func (s *S3) EnsureBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	if err == nil {
		return nil
	}
	if !notFound(err) {
		return s.explain(err, "look for bucket %s", s.bucket)
	}
	input := &s3.CreateBucketInput{Bucket: &s.bucket}
	if region := s.client.Options().Region; region != "us-east-1" { // the one region that refuses to be named
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	}
	_, err = s.client.CreateBucket(ctx, input)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "BucketAlreadyOwnedByYou" {
		return nil
	}
	if err != nil {
		return s.explain(err, "create bucket %s", s.bucket)
	}
	return nil
}

// RefuseUnconditional writes to a key of its own from several connections at once, each time under a condition that can hold
// for one of them only, and returns ErrUnconditional when more than one was let through. The ledger and the lease
// stand on this. It leaves nothing behind.
func (s *S3) RefuseUnconditional(ctx context.Context) (err error) {
	mark, err := s.newMark()
	if err != nil {
		return fmt.Errorf("probe conditional writes: %w", err)
	}
	key := "probe/" + mark
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if deleteErr := s.Delete(ctx, key); err == nil {
			err = deleteErr
		}
	}()
	first, err := s.race(ctx, key, IfAbsent())
	if err != nil {
		return err
	}
	_, err = s.race(ctx, key, IfMatch(first.ETag))
	return err
}

// race lets several writers put under one condition and returns the attributes of the only winner.
func (s *S3) race(ctx context.Context, key string, cond Condition) (Attributes, error) {
	const writers = 8
	won := make([]Attributes, writers)
	errs := make([]error, writers)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			won[i], errs[i] = s.Put(ctx, key, bytes.NewReader([]byte(fmt.Sprintf("%s %d", cond.header(), i))), cond)
		})
	}
	group.Wait()
	winners := 0
	var winner Attributes
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			winner = won[i]
		case !errors.Is(err, ErrPrecondition):
			return winner, fmt.Errorf("probe conditional writes: %w", err)
		}
	}
	if winners == 1 {
		return winner, nil
	}
	return winner, fault.Code(fault.Hint(
		fmt.Errorf("bucket %s: %d of %d racing writes with %s succeeded: %w", s.bucket, winners, writers, cond.header(), ErrUnconditional),
		"use a store that honours conditional writes (Amazon S3, versitygw, MinIO, Ceph)"), fault.Refused)
}

func (c Condition) header() string {
	switch {
	case c.absent:
		return "If-None-Match: *"
	case c.etag != "":
		return "If-Match: " + c.etag
	}
	return "no condition"
}
