-- SECURITY DEFINER wherever it looks dangerous and is not: owners whom the floor binds, functions of a
-- superuser that nobody may call, and one that touches nothing protected.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, name text);
SELECT tenant_guard.protect('shop.contact');
CREATE FUNCTION shop.account_size() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN RETURN (SELECT count(*) FROM shop.contact); END$$;
CREATE PROCEDURE shop.tidy() LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$BEGIN DELETE FROM shop.contact WHERE name = ''; END$$;
CREATE FUNCTION shop.note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, shop, pg_temp AS $$BEGIN PERFORM FROM contact; RETURN NULL; END$$;
CREATE TRIGGER note_change AFTER UPDATE ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.note_change();
GRANT EXECUTE ON FUNCTION shop.account_size() TO APP;
RESET ROLE;
CREATE SCHEMA internal;
CREATE FUNCTION internal.all_contacts() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT count(*) FROM shop.contact; END;
REVOKE ALL ON FUNCTION internal.all_contacts() FROM PUBLIC;
CREATE FUNCTION shop.server_time() RETURNS timestamptz LANGUAGE sql SECURITY INVOKER STABLE RETURN now();
