SELECT actor_user_uid,
       count(*) AS calls,
       count(DISTINCT api_operation) AS operations,
       count(DISTINCT api_service_name) AS services,
       count(DISTINCT cloud_region) AS regions,
       count(DISTINCT src_endpoint_ip) AS addresses,
       round(CAST(count(CASE WHEN status = 'failure' THEN 1 END) AS DOUBLE) / count(*), 4) AS error_ratio,
       round(CAST(count(CASE WHEN api_is_read_only THEN 1 END) AS DOUBLE) / count(*), 4) AS read_only_ratio,
       count(DISTINCT CASE WHEN NOT seen_in_training(actor_user_uid, api_service_name, api_operation)
                           THEN api_operation END) AS never_seen_operations,
       array_agg(DISTINCT src_endpoint_ip) AS ips
FROM cloud_audit
WHERE actor_user_uid IS NOT NULL AND actor_user_type IS DISTINCT FROM 'AWSService'
GROUP BY actor_user_uid
