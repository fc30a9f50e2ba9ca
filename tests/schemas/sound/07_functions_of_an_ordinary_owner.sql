-- SECURITY DEFINER where the floor binds the owner, pinned; triggers; functions that only look alike.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, name text, changed timestamptz);
SELECT tenant_guard.protect('shop.contact');
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.changed := now(); RETURN NEW; END$$;
CREATE TRIGGER touch BEFORE UPDATE ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE FUNCTION shop.total() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT count(*) FROM shop.contact; END;
CREATE FUNCTION shop.rename(who uuid, new_name text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, shop, pg_temp AS $$BEGIN UPDATE contact SET name = $2 WHERE id = $1; END$$;
CREATE FUNCTION shop.label(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'current_setting: ' || $1$$;
CREATE FUNCTION shop.mine() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT tenant_guard.account_id()';
RESET ROLE;
CREATE FUNCTION public.maintenance() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = ''
    AS 'DELETE FROM shop.contact WHERE false';
REVOKE ALL ON FUNCTION public.maintenance() FROM PUBLIC;
