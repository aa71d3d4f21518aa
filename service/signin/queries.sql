-- name: Placeholder :one
SELECT 1::integer AS one;
