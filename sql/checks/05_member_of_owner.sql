-- Row 5: a member of the owner's role, however far, may do what the owner may: switch row security off.
-- Finds roles that can log in and become the owner of protected relations, whose owner cannot log in
-- itself (info: those who run migrations must, the application must not).
-- Fix: revoke the last step of each way there.
SELECT 'info', quote_ident(w.role_name),
    format('can become %I, owner of %s protected relations, through %s', w.reached_name,
        o.relations, CASE WHEN bool_and(w.direct) THEN 'its own membership'
            ELSE string_agg(DISTINCT quote_ident(w.via_name), ', ') END),
    string_agg(DISTINCT w.cut, ' ')
FROM tenant_guard.role_way AS w
JOIN (SELECT m.owner, count(*) AS relations FROM tenant_guard.protected_member AS m
      WHERE $1 IS NULL OR m.schema = ANY ($1)
      GROUP BY m.owner) AS o ON o.owner = w.reached
JOIN pg_roles AS t ON t.oid = w.reached AND NOT t.rolcanlogin AND NOT t.rolsuper
GROUP BY w.role, w.role_name, w.reached, w.reached_name, o.relations
